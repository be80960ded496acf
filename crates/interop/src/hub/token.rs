//! The secret that a server knows a user by.

use std::fmt;

/// An access token, which neither `Debug` nor any error prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// None for a text that is blank, or that no header can hold.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The text without the token: servers may echo what they were sent.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[token]")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::new(" hf_secret\n").unwrap();
        assert_eq!(token.bearer(), "Bearer hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.redact("who is hf_secret?"), "who is [token]?");
        assert_eq!(Token::new(" \n"), None);
        assert_eq!(Token::new("two words"), None);
    }
}
