"""Whether an access key is taken: prints the account's number of keys, or the code of the refusal.

usage: kms_access_key.py
"""
from botocore.exceptions import ClientError

from kms_common import kms

try:
    print(len(kms().list_keys(Limit=1000)["Keys"]))
except ClientError as error:
    print(error.response["Error"]["Code"])
