"""What the KMS client scripts share. Endpoints, region, CA and credentials come from the AWS_… environment."""
import json
import os

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]
REGION = os.environ["AWS_REGION"]


def kms(**arguments):
    return boto3.client("kms", region_name=REGION, **arguments)


def done(what):
    """One line for each thing that was shown."""
    print(what, flush=True)


def refused(code, call, **arguments):
    """The error of a call that must be refused with this code and the status 400."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error
    raise SystemExit(f"not refused with {code}: {answer}")


def signed(body, target="TrentService.ListKeys", method="POST", service="kms", headers=(), secret=None, region=REGION):
    """A request signed as the SDK signs, for what the SDK itself would never send."""
    key, own = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    fields = {"Content-Type": "application/x-amz-json-1.1", **dict(headers)}
    if target is not None:
        fields["X-Amz-Target"] = target
    request = AWSRequest(method=method, url=ENDPOINT + "/", data=body, headers=fields)
    SigV4Auth(Credentials(key, secret or own), service, region).add_auth(request)
    return request


def send(request):
    """Status and JSON of an answer, through urllib3 as the SDK has it."""
    import urllib3

    pool = urllib3.PoolManager(ca_certs=os.environ.get("AWS_CA_BUNDLE"))
    headers = urllib3.HTTPHeaderDict()
    for name, value in request.headers.items():
        headers.add(name, value)
    answer = pool.request(request.method, request.url, body=request.body, headers=headers, retries=False)
    assert answer.headers["x-amzn-requestid"], answer.headers
    return answer.status, json.loads(answer.data)
