//! The two roles of `signet dev`, each set up as an operator would set it up.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use authority::config::{
    AdminConfig, Config as AuthorityConfig, GrpcConfig, HsmConfig, KmsConfig, Pkcs11Config, SoftwareConfig,
};
use edge::config::{Audit, Config as EdgeConfig, Listen, Plugins, Tls};
use node::config::{Duration, Seconds};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::kms::{Credentials, REGION};
use super::pki::{Pki, TRUST_DOMAIN};
use super::{bundle, files, now};
use crate::client::Target;
use crate::failure::{Context, Failure};

/// Why the bundle may admit all subjects of its issuer: `signet dev` is that issuer.
const WHY_WIDE: &str = "the issuer is this very `signet dev`";
/// The tenant of the development bundle.
pub const TENANT: &str = "000000000001";
const EDGE: &str = "edge-dev";

/// Ports on loopback.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The edge's TLS listener, TCP and UDP.
    pub edge: u16,
    /// The edge's cleartext listener.
    pub plain: u16,
    /// The authority's admin API.
    pub admin: u16,
    /// The authority's gRPC.
    pub grpc: u16,
    /// The key API's TLS listener.
    pub kms: u16,
    /// The key API's cleartext listener.
    pub kms_plain: u16,
}

impl Addresses {
    /// A port that was asked for is taken as it is; for 0 the last start's, if it is free, else any. Found ports are let go
    /// again before they are listened on: another process could take one in between, and then the start fails and says so.
    /// Nobody has to know the key API's ports before they are listened on, so any free one stays 0 until then.
    pub fn choose(wanted: [u16; 6], last: [u16; 6]) -> Result<Addresses, Failure> {
        let mut held = Vec::new();
        let mut choose = |at: usize| {
            let of = |ports: [u16; 6]| ports.get(at).copied().unwrap_or(0);
            match of(wanted) {
                0 => free(of(last), &mut held),
                wanted => Ok(wanted),
            }
        };
        let [edge, plain, admin, grpc] = [choose(0)?, choose(1)?, choose(2)?, choose(3)?];
        let late = |wanted: u16, last: u16| match wanted {
            0 if TcpListener::bind(loopback(last)).is_ok() => last,
            wanted => wanted,
        };
        let ([.., kms, kms_plain], [.., last_kms, last_kms_plain]) = (wanted, last);
        Ok(Addresses {
            edge,
            plain,
            admin,
            grpc,
            kms: late(kms, last_kms),
            kms_plain: late(kms_plain, last_kms_plain),
        })
    }

    /// With the ports that the key API took.
    fn with_kms(self, kms: Option<&authority::KeyApi>) -> Addresses {
        Addresses {
            kms: kms.map_or(self.kms, |kms| kms.address().port()),
            kms_plain: kms
                .and_then(authority::KeyApi::plain_address)
                .map_or(self.kms_plain, |address| address.port()),
            ..self
        }
    }

    /// The edge's address, and the base of its issuers' URLs.
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}", self.edge)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// `localhost` is ::1 first on most machines, and a QUIC client does not try the next address. A machine without IPv6 has
/// only the one.
fn both(port: u16) -> Vec<SocketAddr> {
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let has_v6 = TcpListener::bind(v6).is_ok();
    std::iter::once(loopback(port)).chain(has_v6.then_some(v6)).collect()
}

/// Ports below the ones that Linux gives to whoever asks for any (32768 and up): between the look at one and its use no
/// other process is given it by chance.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

fn free(last: u16, held: &mut Vec<(TcpListener, UdpSocket)>) -> Result<u16, Failure> {
    for attempt in 0..64 {
        let random = u16::from_be_bytes(signing::key::random_bytes()?);
        let within = random
            .checked_rem(FREE_PORTS.end.saturating_sub(FREE_PORTS.start))
            .unwrap_or(0);
        let port = if attempt == 0 && last != 0 {
            last
        } else {
            FREE_PORTS.start.saturating_add(within)
        };
        let Ok(tcp) = TcpListener::bind(loopback(port)) else {
            continue;
        };
        if let Ok(udp) = UdpSocket::bind(loopback(port)) {
            held.push((tcp, udp));
            return Ok(port);
        }
    }
    Err(Failure::new("no free port on 127.0.0.1"))
}

/// Both roles, running.
pub struct Roles {
    /// Where they listen.
    pub addresses: Addresses,
    /// The administrator's token.
    pub admin_token: String,
    /// An access key of the account that KMS clients use.
    pub kms: Credentials,
    authority: authority::Running,
    edge: edge::Running,
}

impl Roles {
    /// Starts the authority, gives it keys and a bundle if it has none, enrols the edge if it is not, and starts it.
    pub async fn start(data: &Path, pki: &Pki, addresses: &Addresses, account: &str) -> Result<Roles, Failure> {
        let config = authority_config(data, pki, addresses).await?;
        let token_file = data.join("dev/admin-token");
        if !authority::is_initialised(&config).await? {
            let made = authority::initialise(&config).await?;
            files::private_file(&token_file, made.admin_token.as_bytes())?;
        }
        let admin_token = std::fs::read_to_string(&token_file).context(|| format!("`{}`", token_file.display()))?;
        let authority = authority::start(config, authority::reserve_pool()?).await?;
        if let Some(reason) = authority.sealed() {
            authority.stop().await;
            return Err(Failure::new(reason.to_string()));
        }
        let addresses = &addresses.with_kms(authority.kms());
        let admin = Target {
            url: format!("https://localhost:{}", addresses.admin),
            token: admin_token.clone(),
            ca_file: Some(pki.path("ca.pem")),
        };
        for (tenant, name) in [(TENANT, "development"), (account, "KMS clients")] {
            ensure_tenant(&admin, tenant, name).await?;
        }
        furnish(data, pki, &admin).await?;
        let kms = Credentials::ensure(data, &admin, account).await?;
        let roots = call(&admin, "GET", "/v1/roots", None).await?;
        let delegations = roots
            .get("delegation_root_pem")
            .and_then(Value::as_str)
            .unwrap_or_default();
        files::private_file(&pki.path("delegation-root.pem"), delegations.as_bytes())?;
        let edge = start_edge(data, pki, addresses, &admin).await?;
        edge.until_ready().await;
        Ok(Roles {
            addresses: *addresses,
            admin_token,
            kms,
            authority,
            edge,
        })
    }

    /// Drains both, the edge first.
    pub async fn stop(self) {
        self.edge.stop().await;
        self.authority.stop().await;
    }
}

pub(super) async fn authority_config(
    data: &Path,
    pki: &Pki,
    addresses: &Addresses,
) -> Result<AuthorityConfig, Failure> {
    let dir = data.join("authority");
    files::private_dir(&dir)?;
    Ok(AuthorityConfig {
        trust_domain: TRUST_DOMAIN.into(),
        data_dir: dir,
        anchor_file: None,
        allow_swap: true,
        store: Default::default(),
        region: REGION.into(),
        hsm: hsm(data).await?,
        grpc: GrpcConfig {
            address: loopback(addresses.grpc),
            names: vec!["localhost".into(), "127.0.0.1".into()],
            connections: 256,
            certificate_lifetime: Seconds::new(24 * 3600),
        },
        admin: AdminConfig {
            address: loopback(addresses.admin),
            certificate_file: Some(pki.path("server.pem")),
            key_file: Some(pki.path("server.key.pem")),
        },
        kms: Some(KmsConfig::new(
            loopback(addresses.kms),
            Some(loopback(addresses.kms_plain)),
        )),
        rotation: authority::config::RotationConfig {
            publish_lead: Seconds::new(0),
            ..Default::default()
        },
        delegation: Default::default(),
        enrollment: Default::default(),
        audit: authority::config::AuditConfig::default(),
        export: Vec::new(),
        witness: Vec::new(),
    })
}

/// SoftHSM2 where its library is installed, else the software one. What a data directory began with it keeps.
async fn hsm(data: &Path) -> Result<HsmConfig, Failure> {
    let (softhsm, software) = (data.join("hsm"), data.join("software-hsm"));
    let module = authority::hsm::provision::find_softhsm();
    match module {
        Some(module) if !software.exists() => {
            let (worker, _) = authority::hsm::provision::softhsm(&softhsm, &module, "signet", |_| {}).await?;
            let environment = [(
                "SOFTHSM2_CONF".to_owned(),
                softhsm.join("softhsm2.conf").display().to_string(),
            )];
            Ok(HsmConfig::Pkcs11(Pkcs11Config {
                module: worker.module,
                label: worker.label,
                pin_file: Some(softhsm.join("pin")),
                pin_env: None,
                deadline: None,
                start_deadline: None,
                sessions: None,
                environment: environment.into(),
                worker: None,
            }))
        }
        None if softhsm.exists() => Err(Failure::new(format!(
            "`{}` has its keys in SoftHSM2, whose library is not installed: apt-get install softhsm2, or choose another --data",
            data.display()
        ))),
        _ => {
            files::private_dir(&software)?;
            let passphrase = software.join("passphrase");
            if !passphrase.exists() {
                let random = signing::key::random_bytes::<32>()?;
                files::private_file(&passphrase, signing::encoding::hex(&random).as_bytes())?;
            }
            Ok(HsmConfig::Software(SoftwareConfig {
                file: Some(software.join("keys")),
                passphrase_file: Some(passphrase),
                passphrase_env: None,
            }))
        }
    }
}

/// Makes a tenant that is not there.
async fn ensure_tenant(admin: &Target, id: &str, name: &str) -> Result<(), Failure> {
    let tenants = call(admin, "GET", "/v1/tenants", None).await?;
    let ids = tenants.get("tenants").and_then(Value::as_array).into_iter().flatten();
    if ids
        .into_iter()
        .any(|tenant| tenant.get("id").and_then(Value::as_str) == Some(id))
    {
        return Ok(());
    }
    let body = json!({"id": id, "name": name});
    call(admin, "POST", "/v1/tenants", Some(&body)).await.map(drop)
}

/// Keys, aliases and bundle, by the same calls that an operator's commands make.
async fn furnish(data: &Path, pki: &Pki, admin: &Target) -> Result<(), Failure> {
    let verb = async |verb: &str, body: Value| {
        call(admin, "POST", &format!("/v1/keys/{verb}?tenant={TENANT}"), Some(&body)).await
    };
    let aliases = verb("ListAliases", json!({"Limit": 100})).await?;
    let known: Vec<&str> = aliases
        .get("Aliases")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|alias| alias.get("AliasName").and_then(Value::as_str))
        .collect();
    for (alias, spec, family, delegation, custody) in bundle::KEYS.iter().filter(|key| !known.contains(&key.0)) {
        let tags = [("family", family), ("delegation", delegation), ("custody", custody)];
        let tags = tags.map(|(name, value)| json!({"TagKey": format!("signet:{name}"), "TagValue": value}));
        let usage = if *spec == "HMAC_256" {
            "GENERATE_VERIFY_MAC"
        } else {
            "SIGN_VERIFY"
        };
        let made = verb("CreateKey", json!({"KeySpec": spec, "KeyUsage": usage, "Tags": tags})).await?;
        let id = made.pointer("/KeyMetadata/KeyId").cloned().unwrap_or_default();
        verb("CreateAlias", json!({"AliasName": alias, "TargetKeyId": id})).await?;
    }
    let dir = data.join("bundle");
    let trust_changed = bundle::ensure(&dir, pki)?;
    let in_force = call(admin, "GET", "/v1/bundle", None).await?;
    if trust_changed
        || in_force
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
    {
        let files = policies::bundle::dir::read(&dir)?;
        let bundle = crate::bundle::body(&files, Some(WHY_WIDE));
        // Whatever a rollout has replaced since: without the new trust nobody could say so.
        let bundle = crate::bundle::demanding(bundle, "take_back", true);
        call(admin, "PUT", "/v1/bundle", Some(&bundle)).await?;
    }
    Ok(())
}

/// One call of the admin API; its refusal is the failure.
pub(super) async fn call(admin: &Target, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (status, answer) = admin.send(method, path, body).await?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    Err(Failure::new(format!(
        "{method} {path}: {}",
        crate::client::describe(status, &answer)
    )))
}

async fn start_edge(data: &Path, pki: &Pki, addresses: &Addresses, admin: &Target) -> Result<edge::Running, Failure> {
    let state_dir = data.join("edge");
    files::private_dir(&state_dir)?;
    let authority = vec![format!("https://localhost:{}", addresses.grpc)];
    if !edge::enrolled(&state_dir, now()) {
        let body = json!({"edge_id": EDGE, "ttl_seconds": 60});
        let token = call(admin, "POST", "/v1/edges/tokens", Some(&body)).await?;
        let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or_default();
        let root = CertificateDer::from_pem_slice(text("node_root_pem").as_bytes());
        let root = root.map_err(|error| Failure::new(format!("the node root is not a PEM certificate: {error}")))?;
        let credential = edge::Credential::JoinToken(text("join_token").to_owned());
        edge::join(&authority, root, credential, &state_dir).await?;
    }
    let limits = node::listen::Limits {
        drain: Duration::from_secs(5),
        ..Default::default()
    };
    let config = EdgeConfig {
        authority,
        state_dir,
        public_url: addresses.https_url(),
        listen: Listen {
            https: both(addresses.edge),
            http: Some(loopback(addresses.plain)),
            http3: true,
        },
        join: None,
        tls: Tls {
            certificate: pki.path("server.pem"),
            key: pki.path("server.key.pem"),
        },
        allow_swap: true,
        limits,
        audit: Audit::default(),
        plugins: Plugins::default(),
    };
    let pool = edge::reserve_pool(&config)?;
    Ok(edge::start(config, pool).await?)
}
