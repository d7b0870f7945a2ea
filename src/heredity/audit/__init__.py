"""The auditor: what would a model inherit from this data, before it is trained on it?"""
