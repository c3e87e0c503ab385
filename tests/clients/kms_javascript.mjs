// Drives the key API with the AWS SDK for JavaScript and with the Encryption SDK on it.
//
// usage: node kms_javascript.mjs PACKAGES; the packages are in PACKAGES/node_modules, endpoint and credentials in AWS_…, the
// CA in NODE_EXTRA_CA_CERTS. Prints one line for each thing that was shown.
import assert from "node:assert";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/package.json`);
const kms = require("@aws-sdk/client-kms");
const { buildClient, CommitmentPolicy, KmsKeyringNode } = require("@aws-crypto/client-node");

const client = new kms.KMSClient({});
const made = await client.send(new kms.CreateKeyCommand({ Description: "of a test" }));
const { KeyId, Arn, CreationDate } = made.KeyMetadata;
assert(CreationDate instanceof Date && made.$metadata.requestId, JSON.stringify(made));
const context = { purpose: "test" };
const sealed = await client.send(
  new kms.EncryptCommand({ KeyId, Plaintext: Buffer.from("a secret"), EncryptionContext: context }),
);
const opened = await client.send(
  new kms.DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context }),
);
assert.equal(Buffer.from(opened.Plaintext).toString(), "a secret");
assert.equal(opened.KeyId, Arn);
console.log("round trip");

const listed = [];
for await (const page of kms.paginateListKeys({ client, pageSize: 1 }, {})) {
  listed.push(...page.Keys.map((key) => key.KeyArn));
}
assert(listed.includes(Arn), listed.join());
console.log("pages");

await assert.rejects(client.send(new kms.DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob })), (error) => {
  assert(error instanceof kms.InvalidCiphertextException, error);
  assert.equal(error.$metadata.httpStatusCode, 400);
  return true;
});
await assert.rejects(client.send(new kms.DescribeKeyCommand({ KeyId: "alias/none" })), kms.NotFoundException);
console.log("errors");

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const keyring = new KmsKeyringNode({ generatorKeyId: Arn });
const message = Buffer.from("what is larger than a key takes ".repeat(1000));
const { result } = await encrypt(keyring, message, { encryptionContext: context });
const { plaintext, messageHeader } = await decrypt(keyring, result);
assert(plaintext.equals(message));
assert.equal(messageHeader.encryptionContext.purpose, "test");
console.log("encryption SDK");
