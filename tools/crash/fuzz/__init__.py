"""What do our decoders make of bytes that nobody chose to be nice?  Targets, a fuzzer that covers them, its finds."""
