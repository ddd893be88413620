//! As whom a client port is asked. With authentication, etcd tells little to who has neither a certificate whose common
//! name is a user of its own, nor a user's name and password.

use std::fs;
use std::sync::Arc;

use etcd_client::{Client, Error};

use crate::config::User;
use crate::tls::Tls;

/// How client ports are asked.
#[derive(Clone, Default)]
pub struct Access {
    /// None: the system's authorities are trusted, and nothing is shown.
    pub tls: Option<Arc<Tls>>,
    /// Who to be where etcd asks for it; None: nobody but the certificate's.
    pub user: Option<User>,
}

impl Access {
    /// Calls without a user first: an etcd without authentication refuses a name and a password, and with it the
    /// certificate's common name may be enough. Where it is not, the call is made once more, by the user. The client and
    /// its clones are that user's from then on.
    pub(super) async fn call<T>(
        &self,
        client: &mut Client,
        call: impl AsyncFn(Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let user = match (call(client.clone()).await, &self.user) {
            (Err(e), Some(user)) if is_denied(&e) => user,
            (result, _) => return result,
        };
        // Read each time: `watch` runs for longer than a password lives.
        let password = password(user).map_err(Error::InvalidArgs)?;
        client.update_user(Some((user.name.clone(), password))).await?;
        call(client.clone()).await
    }
}

/// The password that is in the user's file, without the line's end that editors write.
///
/// # Errors
/// A sentence that names the file.
pub fn password(user: &User) -> Result<String, String> {
    let path = user.password_file.display();
    let text = fs::read_to_string(&user.password_file).map_err(|e| format!("read --password-file={path}: {e}"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(format!("read --password-file={path}: it is empty, and etcd gives no user an empty password"));
    }
    Ok(password.to_owned())
}

/// Authentication answers of etcd: no user, a bad token, a wrong password, or a user without the right
/// (api/v3rpc/rpctypes/error.go, v3.7.1). And that there is no password, which only [`Access`] says.
#[allow(clippy::wildcard_enum_match_arm, reason = "the crate has a dozen errors, and more with each version")]
pub(super) fn is_denied(error: &Error) -> bool {
    let status = match error {
        Error::GRpcStatus(status) => status,
        Error::InvalidArgs(_) => return true,
        _ => return false,
    };
    let answers = ["permission denied", "user name is empty", "invalid auth token", "authentication failed"];
    answers.iter().any(|answer| status.message().contains(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f125_a_password_ends_before_the_end_of_its_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let user = User { name: "root".to_owned(), password_file: file.path().to_owned() };
        for (text, expected) in [("a b\n", "a b"), ("a", "a"), ("a\r\n", "a"), (" a\n\n", " a\n")] {
            fs::write(file.path(), text).expect("it is written");
            assert_eq!(password(&user).as_deref(), Ok(expected), "{text:?}");
        }
        for text in ["", "\n", "\r\n"] {
            fs::write(file.path(), text).expect("it is written");
            assert!(password(&user).is_err_and(|why| why.contains("it is empty")), "{text:?}");
        }
    }
}
