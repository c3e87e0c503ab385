"""aws-encryption-sdk 4 with its KMS master key provider: a file's round trip, and a context that does not match."""

import os

import aws_encryption_sdk
import boto3
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import CommitmentPolicy
from botocore.session import get_session

kms = boto3.client("kms")
arn = kms.create_key()["KeyMetadata"]["Arn"]
client = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)
provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn], botocore_session=get_session())
plain = os.urandom(1 << 20)
sealed, header = client.encrypt(source=plain, key_provider=provider, encryption_context={"purpose": "test"})
assert header.encrypted_data_keys, header
opened, header = client.decrypt(source=sealed, key_provider=provider)
assert opened == plain and header.encryption_context["purpose"] == "test"
print("round trip")

other = kms.create_key()["KeyMetadata"]["Arn"]
stranger = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[other], botocore_session=get_session())
try:
    client.decrypt(source=sealed, key_provider=stranger)
    raise SystemExit("another key opened the file")
except AWSEncryptionSDKClientError:
    print("another key does not open it")
