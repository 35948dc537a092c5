"""What the readers of formats share: the common form, files, masks, clips, labels."""
