"""Sends the key API what it must refuse, and shows that nothing of it was done.

usage: kms_refusals.py; prints one line for each refusal.
"""
import datetime
import http.client
import os
import ssl
import urllib.parse
from unittest import mock

import botocore.auth
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

from kms_common import ENDPOINT, done, kms, refused, send, signed

client = kms()
before = sum(len(page["Keys"]) for page in client.get_paginator("list_keys").paginate())
CREATE = '{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}'
TARGET = "TrentService.CreateKey"


def is_refused(what, request, code):
    status, answer = send(request)
    assert (status, answer["__type"]) == (400, code), (what, status, answer)
    assert set(answer) == {"__type", "message"}, answer
    done(what)
    return answer["message"]


wrong = kms(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="x" * 40)
refused("InvalidSignatureException", wrong.create_key)
done("wrong secret")
nobody = kms(aws_access_key_id="AKIA" + "A" * 16, aws_secret_access_key="x" * 40)
refused("UnrecognizedClientException", nobody.create_key)
done("unknown access key")
refused("MissingAuthenticationTokenException", kms(config=Config(signature_version=UNSIGNED)).create_key)
done("unsigned")
stray = kms(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            aws_session_token="c3RyYXk=")
refused("UnrecognizedClientException", stray.create_key)
done("stray session token")

for minutes in (-6, 6):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    name = "get_current_datetime" if hasattr(botocore.auth, "get_current_datetime") else None
    if name:
        with mock.patch.object(botocore.auth, name, lambda *_, **__: moment.replace(tzinfo=None)):
            request = signed(CREATE, TARGET)
    else:
        with mock.patch.object(botocore.auth, "datetime", mock.Mock(**{"datetime.utcnow.return_value": moment.replace(tzinfo=None)})):
            request = signed(CREATE, TARGET)
    message = is_refused(f"clock {minutes:+}", request, "InvalidSignatureException")
    assert ("expired" if minutes < 0 else "not yet current") in message, message

url = client.generate_presigned_url("create_key", Params={"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})
assert "X-Amz-Signature" in url, url
split = urllib.parse.urlsplit(url)
context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])


def raw(method, path, fields, body):
    """A request field by field, as no client library would send it."""
    connection = http.client.HTTPSConnection(split.hostname, split.port, context=context)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in fields:
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


length = ("Content-Length", str(len(CREATE)))
basic = [("Host", split.netloc), ("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", TARGET), length]
status, body = raw("POST", f"/?{split.query}", basic, CREATE)
assert status == 400 and ("IncompleteSignature" in body or "MissingAuthenticationToken" in body), (status, body)
status, body = raw("GET", f"/?{split.query}", [("Host", split.netloc)], "")
assert status == 400 and "IncompleteSignature" in body, (status, body)
done("presigned")

good = signed(CREATE, TARGET)
fields = [("Host", split.netloc), length] + [(name, value) for name, value in good.headers.items()]
once = [value for name, value in fields if name == "Authorization"]
status, body = raw("POST", "/", fields + [("Authorization", once[0])], CREATE)
assert status == 400 and "IncompleteSignatureException" in body, (status, body)
done("two signatures")

payload = [("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")]
is_refused("unsigned payload", signed(CREATE, TARGET, headers=payload), "IncompleteSignatureException")
altered = signed(CREATE, TARGET)
altered.data = CREATE.replace("P256", "P384")
is_refused("altered body", altered, "InvalidSignatureException")
is_refused("another service", signed(CREATE, TARGET, service="sts"), "InvalidSignatureException")
is_refused("unknown operation", signed(CREATE, "TrentService.CreateKeys"), "UnknownOperationException")
is_refused("no operation", signed(CREATE, None), "UnknownOperationException")
is_refused("another protocol", signed(CREATE, TARGET, headers=[("Content-Type", "application/json")]), "UnknownOperationException")
is_refused("not JSON", signed("KeySpec=ECC_NIST_P256", TARGET), "SerializationException")
is_refused("wrong type", signed('{"KeySpec":5}', TARGET), "SerializationException")
is_refused("wrong value", signed('{"KeySpec":"RSA_1"}', TARGET), "ValidationException")

after = sum(len(page["Keys"]) for page in client.get_paginator("list_keys").paginate())
assert before == after, (before, after)
done("nothing was made")
assert send(signed('{"Limit":1,"Surprise":true}'))[0] == 200
done("unknown members are ignored")
assert ENDPOINT.startswith("https://")
