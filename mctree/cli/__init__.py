"""The `mctree` command: parse, call, render.

    main          the entry point
    program       the group of commands
    failures      what becomes of errors; exit codes
    interruption  Ctrl-C in the middle of a long step
    commands/     one small module per command, imported only when it is called
    arguments     what commands take alike: stores, commits, sources
    escaping      names from outside, made safe for a terminal and read back
    formatting    numbers, times, excerpts
    output        where lines, tables, JSON and raw bytes go
    progress      how far a long command is
    summary       what a store holds, in numbers
    nodes         what a node looks like in one line
    picture       what a tree looks like
    strip         what a working context looks like in a line, and what of it can be read
    drawing       what a working context looks like as an image
    samples       what an encoder learns from

What it can do, Python can: nothing is decided here that is not a parameter of `mctree`'s own functions.
"""
