"""Images of a tree: where their nodes lie, how they are built, changed and read.

pages       which nodes of a level exist, and in which rows
places      which images there are, and which part of the arena each has
families    which arrays hold their rows: statistics, gists of a set, and kept pixels
kept        kept pixels of a tile
blocks      in which order an image is read
given       where its pixels come from
patches     what a block of pixels becomes: rows of patches and of tiles
merging     what stands above tiles: rows of parents, made of those of their children
book        what one writer is about to say
painting    what a writer does to add an image, and to change a part of one
covering    how a gist set comes to cover images that were there before it
slots       images on the timeline, as a gist set sees them
arena       what exists of the arena, for whole arrays of nodes
gallery     what one commit knows of images
colours     what nodes look like
image       what a user holds: an image, its nodes and pixels
view        an image as other tools can show it
check       whether images are what was committed
moving      images in a compaction
"""
