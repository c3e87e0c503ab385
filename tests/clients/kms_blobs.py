"""A list of blobs, made and read with boto3, for what the command line does with it in between.

usage: kms_blobs.py encrypt KEY COUNT CONTEXT   prints COUNT blobs, one a line, of the numbers from 0
       kms_blobs.py decrypt FILE CONTEXT        reads a list and prints how many of its lines hold their numbers
       kms_blobs.py rotate KEY
CONTEXT is KEY=VALUE, or empty.
"""
import base64
import sys

from kms_common import kms

client = kms()
verb, arguments = sys.argv[1], sys.argv[2:]


def context(text):
    return dict([text.split("=", 1)]) if text else {}


if verb == "encrypt":
    key, count, pair = arguments
    for number in range(int(count)):
        answer = client.encrypt(KeyId=key, Plaintext=str(number).encode(), EncryptionContext=context(pair))
        print(base64.b64encode(answer["CiphertextBlob"]).decode())
elif verb == "decrypt":
    path, pair = arguments
    with open(path) as lines:
        for number, line in enumerate(lines):
            answer = client.decrypt(CiphertextBlob=base64.b64decode(line), EncryptionContext=context(pair))
            assert answer["Plaintext"] == str(number).encode(), (number, answer)
    print(number + 1)
elif verb == "rotate":
    client.rotate_key_on_demand(KeyId=client.describe_key(KeyId=arguments[0])["KeyMetadata"]["KeyId"])
else:
    raise SystemExit(__doc__)
