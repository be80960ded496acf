//! The type of a key in words, found by asking serde what it would read.

use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// What a type is read from, in words: `number`, `list of text`, `"a" or "b"`.
pub(crate) fn kind<T: DeserializeOwned>() -> String {
    let mut found = Vec::new();
    // Always fails: the tracer has nothing to give.
    let _ = T::deserialize(Tracer(&mut found));
    if found.is_empty() { "value".to_owned() } else { found.concat() }
}

/// A deserializer that notes what it is asked for.
struct Tracer<'a>(&'a mut Vec<String>);

impl Tracer<'_> {
    fn note<T>(self, kind: &str) -> Result<T, de::value::Error> {
        self.0.push(kind.to_owned());
        Err(de::Error::custom("traced"))
    }
}

macro_rules! notes {
    ($($method:ident)+ => $kind:literal) => { $(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            self.note($kind)
        }
    )+ };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = de::value::Error;

    notes! { deserialize_bool => "true or false" }
    notes! { deserialize_f32 deserialize_f64 => "number" }
    notes! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 => "whole number"
    }
    notes! { deserialize_str deserialize_string deserialize_char => "text" }
    notes! { deserialize_any deserialize_map deserialize_ignored_any => "value" }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.push("list of ".to_owned());
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.push(format!("{len} × "));
        visitor.visit_seq(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let quoted: Vec<_> = variants.iter().map(|variant| format!("\"{variant}\"")).collect();
        self.note(&quoted.join(", "))
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple_struct struct identifier
    }
}

impl<'de> SeqAccess<'de> for Tracer<'_> {
    type Error = de::value::Error;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        seed.deserialize(Tracer(self.0)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "only its shape matters")]
    enum Choice {
        First,
        Second,
    }

    #[test]
    fn types_are_told_in_words() {
        assert_eq!(kind::<Option<f64>>(), "number");
        assert_eq!(kind::<usize>(), "whole number");
        assert_eq!(kind::<Vec<String>>(), "list of text");
        assert_eq!(kind::<[f64; 2]>(), "2 × number");
        assert_eq!(kind::<Option<std::path::PathBuf>>(), "text");
        assert_eq!(kind::<Choice>(), "\"first\", \"second\"");
    }
}
