"""Figures and the report: tables, laws and recipes in, matplotlib figures and one page out."""
