"""Saliency: which pixels stand out, whatever they are; and what that says of class scores."""
