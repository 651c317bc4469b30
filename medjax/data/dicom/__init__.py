"""DICOM files: what their headers say, and gray levels of their pixels. Needs the extra `dicom`."""
