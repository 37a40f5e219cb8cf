"""What a study answers: every law and recipe of one frame, as text, as JSON, and saved in a folder."""
