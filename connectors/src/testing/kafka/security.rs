//! Brokers that ask who connects, and what they may do.

use super::install::NoBroker;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a broker checks, beside the listener without security that every broker has, on which everything is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Security<'a> {
    /// Names and passwords of those who may connect by SASL.
    pub users: &'a [(&'a str, &'a str)],
    /// Whether it listens with TLS as well, with certificates made for it.
    pub tls: bool,
    /// Whether users may do only what [`super::TestBroker::grant`] grants them.
    pub authorizer: bool,
}

/// Where a broker with [`Security`] can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// `security.protocol=SASL_PLAINTEXT`, mechanism `PLAIN`.
    SaslPlaintext,
    /// `security.protocol=SASL_SSL`, mechanisms `PLAIN` and `SCRAM-SHA-256`.
    SaslSsl,
    /// `security.protocol=SSL`.
    Ssl,
    /// The same, and the client has to show a certificate.
    MutualSsl,
}

impl Listener {
    pub(super) const ALL: [Listener; 4] =
        [Listener::SaslPlaintext, Listener::SaslSsl, Listener::Ssl, Listener::MutualSsl];

    /// Its name in the broker's properties, and its protocol.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Listener::SaslPlaintext => ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
            Listener::SaslSsl => ("SASL_SSL", "SASL_SSL"),
            Listener::Ssl => ("SSL", "SSL"),
            Listener::MutualSsl => ("MUTUAL", "SSL"),
        }
    }

    fn is_tls(self) -> bool {
        self != Listener::SaslPlaintext
    }
}

/// Certificates made for a test broker and its clients.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The certificate of the authority that signed those of broker and client, PEM.
    pub authority: PathBuf,
    /// The certificate of an authority that signed neither, PEM.
    pub other_authority: PathBuf,
    /// Certificate and key of a client, PKCS#12.
    pub client_keystore: PathBuf,
    /// The password of the keystore.
    pub password: &'static str,
}

/// The password of every keystore.
const PASSWORD: &str = "opensesame";

impl Certificates {
    /// Makes them in this folder, by the `keytool` of the JDK.
    pub(super) fn make(folder: &Path) -> Result<Certificates, NoBroker> {
        for authority in ["authority", "other-authority"] {
            let name = format!("CN=lotic test {authority}");
            keytool(folder, authority, &["-genkeypair", "-alias", "own", "-dname", &name, "-ext", "bc:c"])?;
            keytool(folder, authority, &["-exportcert", "-rfc", "-alias", "own", "-file", &pem(authority)])?;
        }
        keytool(folder, "trusted", &["-importcert", "-noprompt", "-alias", "ca", "-file", "authority.pem"])?;
        for owner in ["broker", "client"] {
            let (name, request, signed) = (format!("CN={owner}"), format!("{owner}.csr"), pem(owner));
            keytool(folder, owner, &["-genkeypair", "-alias", "own", "-dname", &name])?;
            keytool(folder, owner, &["-certreq", "-alias", "own", "-file", &request])?;
            let sign = ["-gencert", "-rfc", "-alias", "own", "-ext", "san=ip:127.0.0.1"];
            keytool(folder, "authority", &[&sign[..], &["-infile", &request, "-outfile", &signed]].concat())?;
            keytool(folder, owner, &["-importcert", "-noprompt", "-alias", "ca", "-file", "authority.pem"])?;
            keytool(folder, owner, &["-importcert", "-noprompt", "-alias", "own", "-file", &signed])?;
        }
        Ok(Certificates {
            authority: folder.join("authority.pem"),
            other_authority: folder.join("other-authority.pem"),
            client_keystore: folder.join("client.p12"),
            password: PASSWORD,
        })
    }
}

fn pem(name: &str) -> String {
    format!("{name}.pem")
}

fn keytool(folder: &Path, keystore: &str, arguments: &[&str]) -> Result<(), NoBroker> {
    let mut command = Command::new("keytool");
    command.current_dir(folder).args(arguments);
    command.args(["-keystore", &format!("{keystore}.p12"), "-storetype", "PKCS12", "-storepass", PASSWORD]);
    let more: &[&str] = match arguments[0] {
        "-genkeypair" => &["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"],
        "-gencert" => &["-validity", "3650"],
        _ => &[],
    };
    command.args(more);
    let output = command
        .output()
        .map_err(|_| NoBroker::NotInstalled("a JDK for certificates (no `keytool` on the path)"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(NoBroker::failed("a certificate cannot be made", String::from_utf8_lossy(&said)))
}

impl Security<'_> {
    pub(super) fn listeners(&self) -> Vec<Listener> {
        let asked = |listener: &Listener| {
            (self.tls || !listener.is_tls()) && (!self.users.is_empty() || !listener.is_sasl())
        };
        Listener::ALL.into_iter().filter(asked).collect()
    }

    /// Arguments with which the storage is formatted: SCRAM users are records in it.
    pub(super) fn format_arguments(&self) -> Vec<String> {
        let user = |(name, password): &(&str, &str)| {
            ["--add-scram".to_owned(), format!("SCRAM-SHA-256=[name={name},password={password}]")]
        };
        self.users.iter().flat_map(user).collect()
    }

    /// What goes into the broker's properties beside the usual.
    pub(super) fn properties(&self, home: &Path) -> String {
        let mut properties = String::new();
        let mut set = |name: &str, value: &str| {
            properties += &format!("{name}={value}\n");
        };
        if self.authorizer {
            set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            // The broker itself, and the tests' administrator.
            set("super.users", "User:ANONYMOUS");
        }
        if self.tls {
            for (name, file) in [("keystore", "broker.p12"), ("truststore", "trusted.p12")] {
                set(&format!("ssl.{name}.location"), &home.join(file).display().to_string());
                set(&format!("ssl.{name}.type"), "PKCS12");
                set(&format!("ssl.{name}.password"), PASSWORD);
            }
            set("ssl.key.password", PASSWORD);
            set("listener.name.mutual.ssl.client.auth", "required");
        }
        for listener in self.listeners().into_iter().filter(|listener| listener.is_sasl()) {
            let prefix = format!("listener.name.{}", listener.names().0.to_lowercase());
            set(&format!("{prefix}.sasl.enabled.mechanisms"), "PLAIN,SCRAM-SHA-256");
            let users = self.users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\""));
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
            let plain = format!("{module}{};", users.collect::<String>());
            set(&format!("{prefix}.plain.sasl.jaas.config"), &plain);
            let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            set(&format!("{prefix}.scram-sha-256.sasl.jaas.config"), scram);
        }
        properties
    }
}

impl Listener {
    fn is_sasl(self) -> bool {
        matches!(self, Listener::SaslPlaintext | Listener::SaslSsl)
    }

    /// What goes into `listeners`, and into the map of protocols.
    pub(super) fn at(self, port: u16) -> (String, String) {
        let (name, protocol) = self.names();
        (format!(",{name}://127.0.0.1:{port}"), format!(",{name}:{protocol}"))
    }
}
