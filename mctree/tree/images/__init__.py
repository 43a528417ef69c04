"""Images of a tree: where their nodes lie, how they are built, changed and read.

pages       which nodes of a level exist, and in which rows
places      which images there are, and which part of the arena each has
families    arrays of a level each: statistics, and gists of a set
patches     what a block of pixels becomes: rows of patches and tiles
merging     what stands above tiles: rows of parents made of those of their children
book        what one writer is about to say of pages and pieces
painting    what a writer does to add an image, and to change a part of one
image       what a user holds: an image, its colours, states and pixels
"""
