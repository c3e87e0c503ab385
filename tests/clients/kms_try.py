"""Makes one call of the key API: prints its answer, or the code and the message of its refusal, as one line of JSON.

usage: kms_try.py OPERATION PARAMETERS; the operation as boto3 names it, the parameters as JSON.
"""
import json
import sys

from botocore.exceptions import ClientError

from kms_common import kms

try:
    answer = getattr(kms(), sys.argv[1])(**json.loads(sys.argv[2]))
    answer.pop("ResponseMetadata")
    print(json.dumps({"answer": answer}, default=str))
except ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
    print(json.dumps({"code": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}))
