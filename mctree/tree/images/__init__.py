"""Images of a tree: where their nodes lie, how they are built, changed and read.

pages       which nodes of a level exist, and in which rows
places      which images there are, and which part of the arena each has
families    which arrays hold their rows: statistics, gists of a set, and kept pixels
kept        kept pixels of a tile
blocks      in which order an image is read
asking      whether a source keeps what it promises
given       where its pixels come from
patches     what a block of pixels becomes: rows of patches and of tiles
overviews   what nodes look like in the smaller versions that a source has
makers      how several threads or processes make rows
merging     what stands above tiles: rows of parents, made of those of their children
noted, book what one writer is about to say
canvas      where the rows of one image go while it is worked on
deepening   how an image becomes finer where it is coarse
extending   how more of an image comes to be known
checkpoints commits on the way of long work
wishes      what a caller wants of an image that is to be added
roster      which images a writer works on, how one begins, and in which gist sets it is
painting    how all of that is put together: adding an image, changing a part, deepening, extending
writing     what a writer offers of it
covering    how a gist set comes to cover images that were there before it
slots       images on the timeline, as a gist set sees them
arena       what exists of the arena, for whole arrays of nodes
gallery     what one commit knows of images
colours     what nodes look like
closed      where an image ends before its patches
image       what a user holds: an image, its levels and pixels
nodes       and its nodes
following   an image as its source shows it, for readers
view        an image as other tools can show it
check       whether images are what was committed
moving      images in a compaction
"""
