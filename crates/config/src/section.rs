//! A section of a configuration: keys with their types, defaults, checks and meaning.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SettingError;
use crate::kind::kind;

/// Whether a key may differ between a run and its continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnResume {
    /// What an update's result depends on stays as it was.
    Fixed,
    /// It may change, and the run says so: its updates are other ones from there on.
    Said,
    /// It may change without a word: no update depends on it.
    Free,
}

/// A section of a configuration; [`section!`](crate::section!) implements it.
pub trait Section: Default + Serialize {
    /// The section's name in a file.
    const NAME: &'static str;
    /// What the section is about.
    const DOC: &'static str;

    /// Checks every value by itself, then those that depend on each other.
    ///
    /// # Errors
    /// The first value that is not allowed, by its key.
    fn check(&self) -> Result<(), SettingError>;

    /// Every key, with the values of `self` as defaults.
    fn fields(&self) -> Vec<Field>;
}

/// What there is to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key without its section.
    pub key: &'static str,
    /// Its type, in words; the choices of one that takes a few names.
    pub kind: String,
    /// The default in TOML; none where the key is left out by default.
    pub default: Option<String>,
    /// Which values are allowed beyond the type.
    pub allowed: Option<&'static str>,
    /// Whether it may differ when a run goes on.
    pub on_resume: OnResume,
    /// The meaning of the key, in a sentence.
    pub doc: &'static str,
}

impl Field {
    /// Describes a key of type `T` by its default.
    pub fn of<T: Serialize + DeserializeOwned>(
        key: &'static str,
        default: &T,
        allowed: Option<&'static str>,
        on_resume: OnResume,
        doc: &'static str,
    ) -> Self {
        Self { key, kind: kind::<T>(), default: in_toml(default), allowed, on_resume, doc: doc.trim() }
    }
}

/// A value as it would stand in a file; none for one that would be left out.
pub fn in_toml<T: Serialize>(value: &T) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

/// Checks a value; what [`section!`](crate::section!) calls for every key.
///
/// # Errors
/// `holds` does not hold.
pub fn check_field<T: Serialize>(
    section: &str,
    key: &str,
    value: &T,
    allowed: &str,
    holds: fn(&T) -> bool,
) -> Result<(), SettingError> {
    if holds(value) {
        return Ok(());
    }
    Err(SettingError::Value {
        key: format!("{section}.{key}"),
        allowed: allowed.to_owned(),
        found: in_toml(value).unwrap_or_else(|| "nothing".to_owned()),
    })
}

/// Defines a section: a struct that serde reads, its `Default` and its [`Section`].
///
/// Each key reads `name: Type = default;` or `name: Type = default, "allowed" => |value| check;`
/// under a documentation comment, which `docs/configuration.md` shows. `together = function` names a
/// check of keys that depend on each other.
///
/// A block behind the keys sorts them by what happens when a run goes on with another value
/// ([`OnResume`]): `on resume { fixed: a, b; said: c; free: d; }`, each part left out where it is empty.
/// A key that stands in no part, or in two, does not compile.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident: $section:literal $(, together = $together:path)? {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $Type:ty = $default:expr $(, $allowed:literal => $holds:expr)?;
            )*
        }
        on resume {
            $(fixed: $($fixed:ident),+;)?
            $(said: $($said:ident),+;)?
            $(free: $($free:ident),+;)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $field: $Type, )*
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::Section for $Name {
            const NAME: &'static str = $section;
            const DOC: &'static str = concat!($($about),+);

            fn check(&self) -> Result<(), $crate::SettingError> {
                $( $(
                    $crate::check_field($section, stringify!($field), &self.$field, $allowed, $holds)?;
                )? )*
                $( $together(self)?; )?
                Ok(())
            }

            fn fields(&self) -> Vec<$crate::Field> {
                // Without `..`: a key that nobody has sorted is an error here.
                let Self { $($($fixed: _,)+)? $($($said: _,)+)? $($($free: _,)+)? } = self;
                let on_resume = |key: &str| match key {
                    $($(stringify!($said) => $crate::OnResume::Said,)+)?
                    $($(stringify!($free) => $crate::OnResume::Free,)+)?
                    _ => $crate::OnResume::Fixed,
                };
                vec![$( $crate::Field::of(
                    stringify!($field),
                    &self.$field,
                    { let allowed: &[&'static str] = &[$($allowed)?]; allowed.first().copied() },
                    on_resume(stringify!($field)),
                    concat!($($doc),+),
                ), )*]
            }
        }
    };
}
