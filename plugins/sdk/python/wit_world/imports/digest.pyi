# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
SHA-2 (FIPS 180-4). At most 64 KiB in one call and 1 MiB in one evaluation: more is a trap.
"""


def sha256(data: bytes) -> bytes:
    """
    32 bytes.
    """
    ...
def sha384(data: bytes) -> bytes:
    """
    48 bytes.
    """
    ...
def sha512(data: bytes) -> bytes:
    """
    64 bytes.
    """
    ...
