"""The report's figures: matplotlib drawings that become part of the page."""
