//! `Debug` of the messages that carry material or tickets: prost's own would print the bytes.

use std::fmt;

use crate::{credential::v1 as credential, grant::v1 as grant};

macro_rules! redact {
    ($($message:path { $($shown:ident),* })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))$(.field(stringify!($shown), &self.$shown))*.finish_non_exhaustive()
            }
        }
    )*};
}

redact! {
    credential::Material {}
    credential::RegistryLogin { server }
    credential::FetchPullSecretRequest {}
    credential::FetchPullSecretResponse { versions }
    grant::IssueTicketResponse { expire_time }
}

impl fmt::Debug for credential::material::Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerConfig(_) => "DockerConfig(..)",
            Self::Login(_) => "Login(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_that_is_secret() {
        let login = credential::RegistryLogin {
            server: "quay.io".into(),
            username: "robot".into(),
            password: "fake-canary".into(),
            email: String::new(),
        };
        let texts = [
            format!("{login:?}"),
            format!(
                "{:?}",
                credential::Material { source: Some(credential::material::Source::Login(login.clone())) }
            ),
            format!(
                "{:?}",
                credential::CreateCredentialRequest {
                    material: Some(credential::Material {
                        source: Some(credential::material::Source::DockerConfig(b"fake-canary".to_vec()))
                    }),
                    ..Default::default()
                }
            ),
            format!("{:?}", credential::FetchPullSecretRequest { ticket: "fake-canary".into() }),
            format!(
                "{:?}",
                credential::FetchPullSecretResponse { data: b"fake-canary".to_vec(), versions: vec![] }
            ),
            format!("{:?}", grant::IssueTicketResponse { ticket: "fake-canary".into(), expire_time: None }),
        ];
        for text in texts {
            assert!(!text.contains("fake-canary") && !text.contains("102, 97, 107, 101"), "{text}");
        }
    }
}
