"""Drives the key API with boto3, as programs do: keys, aliases, tags, signatures, MACs, paginators, typed errors.

usage: kms_keys.py; prints one line for each thing that was shown.
"""
import hashlib

from botocore.config import Config
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms_common import REGION, done, kms, refused

client = kms()
made = client.create_key(
    KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="of a test",
    Tags=[{"TagKey": "team", "TagValue": "payments"}],
)["KeyMetadata"]
key, arn = made["KeyId"], made["Arn"]
assert arn == f"arn:aws:kms:{REGION}:{made['AWSAccountId']}:key/{key}", made
assert (made["KeyState"], made["Enabled"], made["KeySpec"]) == ("Enabled", True, "ECC_NIST_P256"), made
done("create")

described = client.describe_key(KeyId=arn)["KeyMetadata"]
assert described["CreationDate"] == made["CreationDate"] and described["Description"] == "of a test", described
assert client.update_key_description(KeyId=key, Description="new")["ResponseMetadata"]["HTTPStatusCode"] == 200
assert client.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "new"
done("describe")

client.create_alias(AliasName="alias/boto", TargetKeyId=key)
assert client.describe_key(KeyId="alias/boto")["KeyMetadata"]["Arn"] == arn
alias_arn = arn.replace(f"key/{key}", "alias/boto")
assert client.describe_key(KeyId=alias_arn)["KeyMetadata"]["KeyId"] == key
refused("AlreadyExistsException", client.create_alias, AliasName="alias/boto", TargetKeyId=key)
try:
    client.create_alias(AliasName="alias/boto", TargetKeyId=key)
except client.exceptions.AlreadyExistsException as error:
    assert "alias/boto" in str(error), error
client.delete_alias(AliasName="alias/boto")
refused("NotFoundException", client.describe_key, KeyId="alias/boto")
done("alias")

client.tag_resource(KeyId=key, Tags=[{"TagKey": "env", "TagValue": "test"}])
client.untag_resource(KeyId=key, TagKeys=["team"])
assert client.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "env", "TagValue": "test"}]
done("tags")

message = b"a message that is signed"
digest = hashlib.sha256(message).digest()
public = client.get_public_key(KeyId=key)
assert public["SigningAlgorithms"] == ["ECDSA_SHA_256"], public
verifier = load_der_public_key(public["PublicKey"])
whole = client.sign(KeyId=key, Message=message, MessageType="RAW", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
verifier.verify(whole, message, ec.ECDSA(hashes.SHA256()))
short = client.sign(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
verifier.verify(short, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
verifier.verify(short, message, ec.ECDSA(hashes.SHA256()))
try:
    verifier.verify(short, digest, ec.ECDSA(hashes.SHA256()))
    raise SystemExit("the digest was hashed again")
except InvalidSignature:
    done("sign")

asked = dict(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
assert client.verify(Signature=whole, **asked)["SignatureValid"] is True
refused("KMSInvalidSignatureException", client.verify, Signature=whole, **{**asked, "Message": bytes(32)})
done("verify")

secret = client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
mac = client.generate_mac(KeyId=secret, Message=message, MacAlgorithm="HMAC_SHA_256")["Mac"]
assert len(mac) == 32
assert client.verify_mac(KeyId=secret, Message=message, MacAlgorithm="HMAC_SHA_256", Mac=mac)["MacValid"] is True
refused("KMSInvalidMacException", client.verify_mac, KeyId=secret, Message=message, MacAlgorithm="HMAC_SHA_256", Mac=bytes(32))
done("mac")

more = [client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"] for _ in range(5)]
pages = list(client.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3}))
listed = [entry["KeyId"] for page in pages for entry in page["Keys"]]
assert len(pages) >= 3 and all(len(page["Keys"]) <= 3 for page in pages), pages
assert sorted(set(listed)) == sorted(listed) and {key, secret, *more} <= set(listed), listed
for number, name in enumerate(more):
    client.create_alias(AliasName=f"alias/page-{number}", TargetKeyId=name)
pages = list(client.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2}))
names = [alias["AliasName"] for page in pages for alias in page["Aliases"]]
assert {f"alias/page-{number}" for number in range(5)} <= set(names), names
done("pages")

client.disable_key(KeyId=key)
assert client.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
refused("DisabledException", client.sign, **asked)
client.enable_key(KeyId=key)
client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
error = refused("KMSInvalidStateException", client.sign, **asked)
assert "is pending deletion" in str(error), error
client.cancel_key_deletion(KeyId=key)
done("states")

refused("NotFoundException", client.describe_key, KeyId="12345678-1234-4234-8234-123456789012")
unchecked = kms(config=Config(parameter_validation=False))
for call, arguments, text in [
    (unchecked.describe_key, {"KeyId": ""}, "Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1"),
    (unchecked.describe_key, {}, "Value null at 'keyId' failed to satisfy constraint: Member must not be null"),
    (unchecked.list_keys, {"Limit": 1001}, "Value '1001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 1000"),
    (unchecked.sign, {**asked, "MessageType": "RAWER"}, "Value 'RAWER' at 'messageType' failed to satisfy constraint: Member must satisfy enum value set: [RAW, DIGEST, EXTERNAL_MU]"),
]:
    error = refused("ValidationException", call, **arguments)
    assert error.response["Error"]["Message"] == f"1 validation error detected: {text}", error.response
refused("UnsupportedOperationException", client.describe_custom_key_stores)
done("errors")
