"""Learned inversion in closed form: a regression from updates to images on public images."""
