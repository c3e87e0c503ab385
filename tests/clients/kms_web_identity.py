"""An OIDC token in place of stored credentials, by the SDK's own means (AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE).

usage: kms_web_identity.py FOREIGN_TOKEN; prints one line for each thing that was shown.
"""
import os
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from kms_common import REGION, done, kms

role, account = os.environ["AWS_ROLE_ARN"], os.environ["AWS_ROLE_ARN"].split(":")[4]
client = kms()
assert client.list_keys(Limit=3)["Keys"]
frozen = boto3.Session(region_name=REGION).get_credentials().get_frozen_credentials()
assert frozen.access_key.startswith("ASIA") and frozen.token, frozen.access_key
done("credentials of a role")

who = boto3.client("sts", region_name=REGION).get_caller_identity()
assert who["Account"] == account and ":assumed-role/developer/" in who["Arn"] and who["UserId"].startswith("AROA"), who
done("caller identity")

try:
    client.create_key()
    raise SystemExit("a role made a key that no policy lets it make")
except client.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "AccessDeniedException" and "kms:CreateKey" in str(error), error
done("no more than policies say")

sts = boto3.client("sts", region_name=REGION, config=Config(signature_version=UNSIGNED))
with open(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"], encoding="utf-8") as file:
    token = file.read().strip()
base = dict(RoleArn=role, RoleSessionName="test", WebIdentityToken=token)
answer = sts.assume_role_with_web_identity(DurationSeconds=900, **base)
assert answer["SubjectFromWebIdentityToken"] == "dev:alice", answer
assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{account}:assumed-role/developer/test", answer
assert answer["Credentials"]["Expiration"].tzinfo is not None, answer
done("assume role")

for code, change in [
    ("InvalidIdentityToken", {"WebIdentityToken": token[:-4] + "AAAA"}),
    ("InvalidIdentityToken", {"WebIdentityToken": sys.argv[1]}),
    ("AccessDenied", {"RoleArn": role.replace("developer", "nobody")}),
    ("ValidationError", {"DurationSeconds": 7200}),
    ("ValidationError", {"Policy": "{}"}),
    ("ValidationError", {"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}),
]:
    try:
        sts.assume_role_with_web_identity(**{**base, **change})
        raise SystemExit(f"not refused with {code}: {change}")
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (error.response, change)
        assert error.response["ResponseMetadata"]["RequestId"], error.response
done("refusals")
