"""Every operation of the model with a success, a state and a refusal, over the wire; answers as the service was seen to give them.

usage: kms_matrix.py; a stranger's access key comes in STRANGER_ACCESS_KEY_ID and STRANGER_SECRET_ACCESS_KEY. Prints one
line for each operation. An operation of the installed client's model that has no row, or a row without one of the three,
fails.
"""
import os
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms_common import REGION, done, kms

UNCHECKED = Config(parameter_validation=False, retries={"max_attempts": 1})
client = kms(config=UNCHECKED)
there = boto3.client("kms", region_name="ap-southeast-1", config=UNCHECKED)
stranger = kms(
    config=UNCHECKED,
    aws_access_key_id=os.environ["STRANGER_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["STRANGER_SECRET_ACCESS_KEY"],
)
METHODS = {client.meta.method_to_api_mapping[name]: name for name in client.meta.method_to_api_mapping}
ABSENT = "12345678-1234-4234-8234-123456789012"
DISABLED, DELETION, IMPORT = "Disabled", "PendingDeletion", "PendingImport"
SPECS = {
    "symmetric": {},
    "rsa": {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
    "signing": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
    "mac": {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
    "agreement": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"},
    "kem": {"KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
    "external": {"Origin": "EXTERNAL"},
    "regions": {"MultiRegion": True},
}
kept = {}


class Key:
    """A key, told apart by its kind and what was done to it."""

    def __init__(self, kind):
        self.kind = kind
        metadata = client.create_key(**SPECS[kind])["KeyMetadata"]
        self.id, self.arn, self.account = metadata["KeyId"], metadata["Arn"], metadata["AWSAccountId"]
        self.user = f"arn:aws:iam::{self.account}:user/somebody"
        self.made = {}
        if kind != "external":
            self.prepare()

    def prepare(self):
        """What later calls need of a key in use, made while it may be used."""
        made, key = self.made, {"KeyId": self.id}
        if self.kind in ("symmetric", "regions"):
            made["blob"] = client.encrypt(**key, Plaintext=b"secret")["CiphertextBlob"]
            made["grant"] = client.create_grant(
                **key, GranteePrincipal=self.user, RetiringPrincipal=self.user, Operations=["Encrypt"]
            )["GrantId"]
        if self.kind == "signing":
            signed = client.sign(**key, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
            made["signature"] = signed["Signature"]
        if self.kind == "mac":
            made["mac"] = client.generate_mac(**key, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
        if self.kind == "kem":
            made["capsule"] = client.encapsulate(**key, EncapsulationAlgorithm="ML_KEM")["SharedSecretCiphertextBlob"]
        made["alias"] = f"alias/matrix/{uuid.uuid4()}"
        client.create_alias(AliasName=made["alias"], TargetKeyId=self.id)


def key(kind="symmetric", state=None):
    """A key of a kind in a state; the same one each time, as long as calls leave it as it is."""
    if (kind, state) not in kept:
        kept[kind, state] = made = Key(kind)
        if state == DISABLED:
            client.disable_key(KeyId=made.id)
        if state == DELETION:
            client.schedule_key_deletion(KeyId=made.id)
    return kept[kind, state]


def fresh(kind="symmetric", state=None):
    """A key that nobody else sees."""
    kept.pop((kind, state), None)
    made = key(kind, state)
    kept.pop((kind, state))
    return made


def of(key, **arguments):
    return {"KeyId": key.id, **arguments}


def import_of(key, byte=7, **more):
    given = client.get_parameters_for_import(
        KeyId=key.id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    wrapped = load_der_public_key(given["PublicKey"]).encrypt(bytes([byte]) * 32, oaep)
    return of(key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped,
              ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE", **more)


def imported(key):
    client.import_key_material(**import_of(key))
    return key


PEER = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
PARAMETERS = dict(WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
SIGN = dict(Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
MAC = dict(Message=b"m", MacAlgorithm="HMAC_SHA_256")
KEM = dict(EncapsulationAlgorithm="ML_KEM")
AGREE = dict(KeyAgreementAlgorithm="ECDH", PublicKey=PEER)
TAGS = [{"TagKey": "team", "TagValue": "a"}]
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"ACCOUNT"},"Action":"kms:*","Resource":"*"}]}'


def bad_value(value, path, constraint):
    return "ValidationException", f"1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: {constraint}"


def no_key(arguments):
    """That a key is not there, in the service's words."""
    arn = key().arn.replace(key().id, ABSENT)
    return {**arguments, "KeyId": ABSENT}, "NotFoundException", f"Key '{arn}' does not exist"


def wrong_state(made, arguments):
    """What state errors say, by the state of the key that is made."""
    describe = client.describe_key(KeyId=made.id)["KeyMetadata"]["KeyState"]
    code, text = {
        DISABLED: ("DisabledException", "is disabled."),
        DELETION: ("KMSInvalidStateException", "is pending deletion."),
        IMPORT: ("KMSInvalidStateException", "is pending import."),
        "Enabled": ("KMSInvalidStateException", "is not pending deletion."),
    }[describe]
    return of(made, **arguments), code, f"{made.arn} {text}"


def works(arguments):
    """A state in which the operation goes on to work."""
    return arguments, None, None


def usage(made, operation, arguments):
    shown = client.describe_key(KeyId=made.id)["KeyMetadata"]["KeyUsage"]
    return of(made, **arguments), "InvalidKeyUsageException", f"{made.arn} key usage is {shown} which is not valid for {operation}."


def unsupported(made, arguments, text):
    return of(made, **arguments), "UnsupportedOperationException", text and f"{made.arn} {text}"


IDS = {"KeyId", "KeyMaterialId"}
# Operation: arguments and members of the answer of a success; a state; a refusal. Functions, so that only one's keys exist.
ROWS = {
    "Encrypt": (
        lambda: (of(key(), Plaintext=b"x"), {"CiphertextBlob", "KeyId", "EncryptionAlgorithm"}),
        lambda: wrong_state(key(state=DISABLED), dict(Plaintext=b"x")),
        lambda: (of(key(), Plaintext=b"x" * 4097), "ValidationException",
                 "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")),
    "Decrypt": (
        lambda: (dict(CiphertextBlob=key().made["blob"]), {"KeyId", "Plaintext", "EncryptionAlgorithm", "KeyMaterialId"}),
        lambda: wrong_state(key(state=DELETION), dict(CiphertextBlob=key(state=DELETION).made["blob"])),
        lambda: (of(key("mac"), CiphertextBlob=key().made["blob"]), "IncorrectKeyException",
                 "The key ID in the request does not identify a CMK that can perform this operation.")),
    "ReEncrypt": (
        lambda: (dict(CiphertextBlob=key().made["blob"], DestinationKeyId=key("regions").id),
                 {"CiphertextBlob", "KeyId", "SourceKeyId", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm",
                  "SourceKeyMaterialId", "DestinationKeyMaterialId"}),
        lambda: (dict(CiphertextBlob=key().made["blob"], DestinationKeyId=key(state=DISABLED).id), "DisabledException",
                 f"{key(state=DISABLED).arn} is disabled."),
        lambda: (dict(CiphertextBlob=key().made["blob"] + b"x", DestinationKeyId=key().id), "InvalidCiphertextException", "")),
    "GenerateDataKey": (
        lambda: (of(key(), KeySpec="AES_256"), {"CiphertextBlob", "Plaintext"} | IDS),
        lambda: wrong_state(key("external"), dict(KeySpec="AES_256")),
        lambda: usage(key("signing"), "GenerateDataKey", dict(KeySpec="AES_256"))),
    "GenerateDataKeyWithoutPlaintext": (
        lambda: (of(key(), NumberOfBytes=64), {"CiphertextBlob"} | IDS),
        lambda: wrong_state(key(state=DISABLED), dict(NumberOfBytes=64)),
        lambda: (of(key(), NumberOfBytes=1025),
                 *bad_value("'1025'", "numberOfBytes", "Member must have value less than or equal to 1024"))),
    "GenerateDataKeyPair": (
        lambda: (of(key(), KeyPairSpec="ECC_NIST_P256"),
                 {"PrivateKeyCiphertextBlob", "PrivateKeyPlaintext", "PublicKey", "KeyPairSpec"} | IDS),
        lambda: wrong_state(key(state=DELETION), dict(KeyPairSpec="ECC_NIST_P256")),
        lambda: (of(key(), KeyPairSpec="ECC_NIST_P256", DryRun=True), "DryRunOperationException",
                 "The request would have succeeded, but the DryRun option is set.")),
    "GenerateDataKeyPairWithoutPlaintext": (
        lambda: (of(key(), KeyPairSpec="RSA_2048"), {"PrivateKeyCiphertextBlob", "PublicKey", "KeyPairSpec"} | IDS),
        lambda: wrong_state(key("external"), dict(KeyPairSpec="RSA_2048")),
        lambda: no_key(dict(KeyPairSpec="RSA_2048"))),
    "GenerateRandom": (
        lambda: (dict(NumberOfBytes=1024), {"Plaintext"}),
        lambda: works(dict(NumberOfBytes=1)),
        lambda: ({}, "ValidationException", "NumberOfBytes is required.")),
    "Sign": (
        lambda: (of(key("signing"), **SIGN), {"KeyId", "Signature", "SigningAlgorithm"}),
        lambda: wrong_state(key("signing", DISABLED), SIGN),
        lambda: (of(key("signing"), **{**SIGN, "MessageType": "DIGEST"}), "ValidationException",
                 "Digest is invalid length for algorithm ECDSA_SHA_256.")),
    "Verify": (
        lambda: (of(key("signing"), **SIGN, Signature=key("signing").made["signature"]),
                 {"KeyId", "SignatureValid", "SigningAlgorithm"}),
        lambda: wrong_state(key("signing", DELETION), dict(**SIGN, Signature=b"x")),
        lambda: (of(key("signing"), **{**SIGN, "Message": b"n"}, Signature=key("signing").made["signature"]),
                 "KMSInvalidSignatureException", "")),
    "GenerateMac": (
        lambda: (of(key("mac"), **MAC), {"KeyId", "Mac", "MacAlgorithm"}),
        lambda: wrong_state(key("mac", DISABLED), MAC),
        lambda: (of(key("mac"), **{**MAC, "MacAlgorithm": "INVALID"}),
                 *bad_value("'INVALID'", "macAlgorithm", "Member must satisfy enum value set: "
                            "[HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]"))),
    "VerifyMac": (
        lambda: (of(key("mac"), **MAC, Mac=key("mac").made["mac"]), {"KeyId", "MacValid", "MacAlgorithm"}),
        lambda: wrong_state(key("mac", DISABLED), dict(**MAC, Mac=b"x")),
        lambda: (of(key("mac"), **{**MAC, "Message": b"n"}, Mac=key("mac").made["mac"]), "KMSInvalidMacException", "")),
    "DeriveSharedSecret": (
        lambda: (of(key("agreement"), **AGREE), {"KeyId", "SharedSecret", "KeyAgreementAlgorithm", "KeyOrigin"}),
        lambda: wrong_state(key("agreement", DISABLED), AGREE),
        lambda: (of(key("agreement"), **{**AGREE, "PublicKey": b"none"}), "ValidationException", "")),
    "Encapsulate": (
        lambda: (of(key("kem"), **KEM), {"KeyId", "SharedSecret", "SharedSecretCiphertextBlob", "EncapsulationAlgorithm"}),
        lambda: wrong_state(key("kem", DISABLED), KEM),
        lambda: usage(key(), "Encapsulate", KEM)),
    "Decapsulate": (
        lambda: (of(key("kem"), **KEM, SharedSecretCiphertextBlob=key("kem").made["capsule"]),
                 {"KeyId", "SharedSecret", "EncapsulationAlgorithm"}),
        lambda: wrong_state(key("kem", DELETION), dict(**KEM, SharedSecretCiphertextBlob=b"x")),
        lambda: usage(key(), "Decapsulate", dict(**KEM, SharedSecretCiphertextBlob=b"x"))),
    "GetPublicKey": (
        lambda: (of(key("signing")),
                 {"KeyId", "PublicKey", "CustomerMasterKeySpec", "KeySpec", "KeyUsage", "SigningAlgorithms"}),
        lambda: wrong_state(key("signing", DELETION), {}),
        lambda: unsupported(key(), {}, None)),
    "CreateKey": (
        lambda: ({}, {"KeyMetadata"}),
        lambda: works(SPECS["external"]),
        lambda: (dict(KeySpec="HMAC_256"), "ValidationException",
                 "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")),
    "DescribeKey": (
        lambda: (of(key()), {"KeyMetadata"}),
        lambda: works(of(key(state=DELETION))),
        lambda: (dict(KeyId=key().arn.replace(REGION, "us-west-1")), "NotFoundException", "Invalid arn us-west-1")),
    "ListKeys": (
        lambda: (dict(Limit=1), {"Keys", "Truncated", "NextMarker"}),
        lambda: works(dict(Limit=1000)),
        lambda: (dict(Marker="garbage!"), "InvalidMarkerException", None)),
    "EnableKey": (
        lambda: (of(fresh(state=DISABLED)), set()),
        lambda: wrong_state(key("external"), {}),
        lambda: no_key({})),
    "DisableKey": (
        lambda: (of(fresh()), set()),
        lambda: wrong_state(key(state=DELETION), {}),
        lambda: no_key({})),
    "UpdateKeyDescription": (
        lambda: (of(key(), Description="d"), set()),
        lambda: wrong_state(key(state=DELETION), dict(Description="d")),
        lambda: no_key(dict(Description="d"))),
    "ScheduleKeyDeletion": (
        lambda: (of(fresh(), PendingWindowInDays=7), {"KeyId", "DeletionDate", "KeyState", "PendingWindowInDays"}),
        lambda: wrong_state(key(state=DELETION), {}),
        lambda: (of(key(), PendingWindowInDays=6), "ValidationException", None)),
    "CancelKeyDeletion": (
        lambda: (of(fresh(state=DELETION)), {"KeyId"}),
        lambda: wrong_state(key(), {}),
        lambda: no_key({})),
    "CreateAlias": (
        lambda: (dict(AliasName=f"alias/{uuid.uuid4()}", TargetKeyId=key().id), set()),
        lambda: (dict(AliasName="alias/late", TargetKeyId=key(state=DELETION).id), "KMSInvalidStateException",
                 f"{key(state=DELETION).arn} is pending deletion."),
        lambda: (dict(AliasName="late", TargetKeyId=key().id), "ValidationException",
                 'Alias must start with the prefix "alias/". Please see '
                 "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html")),
    "UpdateAlias": (
        lambda: (dict(AliasName=fresh().made["alias"], TargetKeyId=key().id), set()),
        lambda: (dict(AliasName=key().made["alias"], TargetKeyId=key(state=DELETION).id), "KMSInvalidStateException",
                 f"{key(state=DELETION).arn} is pending deletion."),
        lambda: (dict(AliasName=key().made["alias"], TargetKeyId="alias/other"), "ValidationException",
                 "Aliases must refer to keys. Not aliases")),
    "DeleteAlias": (
        lambda: (dict(AliasName=fresh().made["alias"]), set()),
        lambda: works(dict(AliasName=fresh(state=DELETION).made["alias"])),
        lambda: (dict(AliasName="alias/none"), "NotFoundException",
                 f"Alias {key().arn.replace('key/' + key().id, 'alias/none')} is not found.")),
    "ListAliases": (
        lambda: (of(key()), {"Aliases", "Truncated"}),
        lambda: works(of(key(state=DELETION))),
        lambda: no_key({})),
    "TagResource": (
        lambda: (of(key(), Tags=TAGS), set()),
        lambda: wrong_state(key(state=DELETION), dict(Tags=TAGS)),
        lambda: (of(key(), Tags=[{"TagKey": "aws:x", "TagValue": ""}]), "TagException", "Tags beginning with aws: are reserved")),
    "UntagResource": (
        lambda: (of(key(), TagKeys=["missing"]), set()),
        lambda: wrong_state(key(state=DELETION), dict(TagKeys=["team"])),
        lambda: no_key(dict(TagKeys=["team"]))),
    "ListResourceTags": (
        lambda: (of(key()), {"Tags", "Truncated"}),
        lambda: works(of(key(state=DELETION))),
        lambda: (dict(KeyId=key().made["alias"]), "NotFoundException", f"Invalid keyId '{key().made['alias']}'")),
    "GetKeyPolicy": (
        lambda: (of(key()), {"Policy", "PolicyName"}),
        lambda: works(of(key(state=DELETION))),
        lambda: (of(key(), PolicyName="other"), "NotFoundException", None)),
    "PutKeyPolicy": (
        lambda: (of(key(), Policy=POLICY.replace("ACCOUNT", key().account)), set()),
        lambda: works(of(key(state=DELETION), Policy=POLICY.replace("ACCOUNT", key().account))),
        lambda: (of(key(), Policy="{}"), "MalformedPolicyDocumentException", None)),
    "ListKeyPolicies": (
        lambda: (of(key()), {"PolicyNames", "Truncated"}),
        lambda: works(of(key(state=DELETION))),
        lambda: no_key({})),
    "EnableKeyRotation": (
        lambda: (of(key()), set()),
        lambda: wrong_state(key(state=DISABLED), {}),
        lambda: unsupported(key("external"), {}, "origin is EXTERNAL which is not valid for this operation.")),
    "DisableKeyRotation": (
        lambda: (of(key()), set()),
        lambda: wrong_state(key(state=DELETION), {}),
        lambda: unsupported(key("signing"), {}, "")),
    "GetKeyRotationStatus": (
        lambda: (of(key()), {"KeyId", "KeyRotationEnabled"}),
        lambda: works(of(key(state=DELETION))),
        lambda: no_key({})),
    "ListKeyRotations": (
        lambda: (of(key()), {"Rotations", "Truncated"}),
        lambda: works(of(key(state=DISABLED))),
        lambda: no_key({})),
    "RotateKeyOnDemand": (
        lambda: (of(fresh()), {"KeyId"}),
        lambda: wrong_state(key("rsa", DISABLED), {}),
        lambda: (of(imported(fresh("external"))), "KMSInvalidStateException", None)),
    "CreateGrant": (
        lambda: (of(key(), GranteePrincipal=key().user, Operations=["Decrypt"]), {"GrantId", "GrantToken"}),
        lambda: wrong_state(key(state=DISABLED), dict(GranteePrincipal=key().user, Operations=["Decrypt"])),
        lambda: (of(key(), GranteePrincipal="nobody", Operations=["Decrypt"]), "InvalidArnException", None)),
    "ListGrants": (
        lambda: (of(key()), {"Grants", "Truncated"}),
        lambda: works(of(key(state=DELETION))),
        lambda: no_key({})),
    "ListRetirableGrants": (
        lambda: (dict(RetiringPrincipal=key().user), {"Grants", "Truncated"}),
        lambda: works(dict(RetiringPrincipal=key(state=DELETION).user)),
        lambda: (dict(RetiringPrincipal="nobody"), "InvalidArnException", None)),
    "RevokeGrant": (
        lambda: (of(made := fresh(), GrantId=made.made["grant"]), set()),
        lambda: works(of(made := fresh(state=DELETION), GrantId=made.made["grant"])),
        lambda: (of(key(), GrantId="f" * 64), "NotFoundException", None)),
    "RetireGrant": (
        lambda: (dict(KeyId=(made := fresh()).arn, GrantId=made.made["grant"]), set()),
        lambda: works(dict(KeyId=(made := fresh(state=DELETION)).arn, GrantId=made.made["grant"])),
        lambda: (dict(KeyId=key().made["alias"], GrantId=key().made["grant"]), "NotFoundException",
                 f"Invalid keyId '{key().made['alias']}'")),
    "GetParametersForImport": (
        lambda: (of(key("external"), **PARAMETERS), {"KeyId", "ImportToken", "PublicKey", "ParametersValidTo"}),
        lambda: wrong_state(key("external", DELETION), PARAMETERS),
        lambda: unsupported(key(), PARAMETERS, "origin is AWS_KMS which is not valid for this operation.")),
    "ImportKeyMaterial": (
        lambda: (import_of(fresh("external")), IDS),
        lambda: wrong_state(key("external", DELETION), dict(
            ImportToken=b"x", EncryptedKeyMaterial=b"x", ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")),
        lambda: (of(key("external"), ImportToken=b"x", EncryptedKeyMaterial=b"x"), "ValidationException",
                 "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")),
    "DeleteImportedKeyMaterial": (
        lambda: (of(imported(fresh("external"))), IDS),
        lambda: works(of(key("external"))),
        lambda: unsupported(key(), {}, "origin is AWS_KMS which is not valid for this operation.")),
    "ReplicateKey": (
        lambda: (of(fresh("regions"), ReplicaRegion="ap-southeast-1"), {"ReplicaKeyMetadata", "ReplicaPolicy"}),
        lambda: wrong_state(key("regions", DISABLED), dict(ReplicaRegion="ap-southeast-1")),
        lambda: unsupported(key(), dict(ReplicaRegion="ap-southeast-1"), "is not a multi-region key.")),
    "UpdatePrimaryRegion": (
        lambda: (of(replicated(fresh("regions")), PrimaryRegion="ap-southeast-1"), set()),
        lambda: wrong_state(key("regions", DELETION), dict(PrimaryRegion="ap-southeast-1")),
        lambda: (of(key("regions"), PrimaryRegion="ap-southeast-1"), "NotFoundException", None)),
    "GetKeyLastUsage": (
        lambda: (of(key()), {"KeyId", "TrackingStartDate", "KeyCreationDate", "KeyLastUsage"}),
        lambda: works(of(key(state=DELETION))),
        lambda: (dict(KeyId=key().made["alias"]), "NotFoundException", f"Invalid keyId '{key().made['alias']}'")),
}
# Custom key stores: each of their operations has one answer.
STORES = {
    "ConnectCustomKeyStore": dict(CustomKeyStoreId="cks-1234567890abcdef0"),
    "CreateCustomKeyStore": dict(CustomKeyStoreName="store"),
    "DeleteCustomKeyStore": dict(CustomKeyStoreId="cks-1234567890abcdef0"),
    "DescribeCustomKeyStores": {},
    "DisconnectCustomKeyStore": dict(CustomKeyStoreId="cks-1234567890abcdef0"),
    "UpdateCustomKeyStore": dict(CustomKeyStoreId="cks-1234567890abcdef0"),
}


def replicated(made):
    client.replicate_key(KeyId=made.id, ReplicaRegion="ap-southeast-1")
    assert there.describe_key(KeyId=made.id)["KeyMetadata"]["KeyState"] == "Enabled"
    return made


def call(who, operation, arguments):
    """The members of the answer, or code and message of the error, which must have the form that all have."""
    try:
        answer = getattr(who, METHODS[operation])(**arguments)
    except ClientError as error:
        response = error.response
        metadata = response["ResponseMetadata"]
        assert metadata["HTTPStatusCode"] == 400 and metadata["RequestId"], response
        # Where the service says nothing there is no member for it.
        assert ("message" in response) == bool(response["Error"]["Message"]) or response["Error"]["Code"].startswith(
            ("Validation", "AccessDenied", "Throttling")), response
        return None, (response["Error"]["Code"], response["Error"]["Message"])
    return set(answer) - {"ResponseMetadata"}, None


def check(operation, what, arguments, code, message):
    members, error = call(client, operation, arguments)
    if code is None:
        assert error is None, (operation, what, error)
    else:
        assert error is not None and error[0] == code, (operation, what, error or members)
        assert message is None or error[1] == message, (operation, what, error[1], message)


model = set(METHODS)
assert model == set(ROWS) | set(STORES), model ^ (set(ROWS) | set(STORES))
for operation, (success, state, refusal) in ROWS.items():
    arguments, wanted = success()
    members, error = call(stranger, operation, arguments)
    assert error and error[0] == "AccessDeniedException", (operation, "a stranger", error or members)
    members, error = call(client, operation, arguments)
    assert error is None and members == wanted, (operation, error or members ^ wanted)
    check(operation, "state", *state())
    check(operation, "refusal", *refusal())
    done(operation)
for operation, arguments in STORES.items():
    assert call(client, operation, arguments)[1][0] == "UnsupportedOperationException", operation
    done(operation)
