//! The default keys of services: `alias/aws/SERVICE`, made when somebody first asks for one.
//!
//! Clients look them up by their alias where nobody chose a key. They are services' to use, by their policy, and no service
//! calls this one: what is served is that they are there.

use std::collections::{BTreeMap, BTreeSet};

use super::lifecycle::{Imports, Manager, Origin, Rotation};
use super::protection::Protection;
use super::rotate::next_rotation;
use super::{AliasRecord, Custody, Delegation, Family, KeyRecord, Keys, KmsError, State, material};
use crate::crypto::{KeySpec, KeyUsage};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::Change;
use crate::tenants;

const PREFIX: &str = "alias/aws/";
/// Services with a default key: a list, or anybody could fill an account with keys by asking.
const SERVICES: &[&str] = &[
    "acm",
    "backup",
    "cloud9",
    "codebuild",
    "codecommit",
    "connect",
    "dax",
    "dms",
    "dynamodb",
    "ebs",
    "elasticfilesystem",
    "es",
    "fsx",
    "glue",
    "kafka",
    "kinesis",
    "kinesisvideo",
    "lambda",
    "lightsail",
    "mq",
    "neptune",
    "rds",
    "redshift",
    "s3",
    "sagemaker",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "workspaces",
    "xray",
];

/// Whether an alias is that of a service's default key.
pub(super) fn is_default(alias: &str) -> bool {
    alias
        .strip_prefix(PREFIX)
        .is_some_and(|service| SERVICES.contains(&service))
}

impl Keys {
    /// Makes the default key that an alias names, if it is a service's; answers its id.
    pub(super) async fn make_managed(&self, tenant: &Tenant, alias: &str) -> Result<Option<String>, KmsError> {
        let service = alias.strip_prefix(PREFIX).unwrap_or_default();
        if !SERVICES.contains(&service) {
            return Ok(None);
        }
        let now = self.clock.now();
        let custody = tenants::default_custody(&self.vault, tenant).await?;
        let mut key = self.managed(tenant, alias, service, custody);
        let (version, made) = material::make_raw(self, &key).await?;
        let change = made.store(Change::new(), &key, &version);
        key.next_version = 2;
        key.versions.push(version);
        let row = AliasRecord {
            key: key.id.clone(),
            created_at: now,
            updated_at: now,
        };
        let change = change
            .create(paths::alias(tenant, &self.region, alias), &row)
            .create(paths::key(tenant, &key.row()), &key);
        self.vault.commit(change).await?;
        tracing::info!(%tenant, key = key.id, alias, "default key made");
        Ok(Some(key.id))
    }

    fn managed(&self, tenant: &Tenant, alias: &str, service: &str, custody: Custody) -> KeyRecord {
        let now = self.clock.now();
        let rotation = Rotation::default();
        KeyRecord {
            id: uuid::Uuid::new_v4().to_string(),
            tenant: tenant.clone(),
            region: self.region.clone(),
            multi_region: None,
            manager: Manager::Service,
            spec: KeySpec::SymmetricDefault,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AwsKms,
            family: Family::Raw,
            delegation: Delegation::None,
            custody,
            state: State::Enabled,
            description: format!("Default key that protects my {service} data when no other key is defined"),
            policy: policy(tenant, &self.region, service),
            tags: BTreeMap::new(),
            aliases: BTreeSet::from([alias.to_owned()]),
            created_at: now,
            created_by: format!("arn:aws:iam::{tenant}:root"),
            next_version: 1,
            versions: Vec::new(),
            rotation: Rotation {
                enabled: true,
                next_at: next_rotation(now, rotation.period_days),
                ..rotation
            },
            imports: Imports::default(),
            protection: Protection::default(),
        }
    }
}

/// What AWS gives such keys: the account's principals use it through the service, and look at it.
fn policy(tenant: &Tenant, region: &str, service: &str) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "auto-{service}-1",
  "Statement" : [ {{
    "Sid" : "Allow access through {service} for all principals in the account that are authorized to use it",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "*"
    }},
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {{
      "StringEquals" : {{
        "kms:CallerAccount" : "{tenant}",
        "kms:ViaService" : "{service}.{region}.amazonaws.com"
      }}
    }}
  }}, {{
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{tenant}:root"
    }},
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  }} ]
}}"#
    )
}
