//! The shape of a type, as serde sees it: names and types of fields, variants of enums.
//!
//! The encoding of state does not describe itself, so bytes of a type whose fields have changed can often be read as
//! the new one, wrongly. What is written therefore bears a number for the shape. It is found by having a made-up value
//! deserialised: the code that serde derives says what it wants.

use crate::key::hash_of;
use serde::de::value::Error;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use std::any::TypeId;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Enums with more variants are seen up to here, besides the names of all.
const VARIANTS_SEEN: usize = 64;

/// A number that differs, all but certainly, for types with other fields, field types or variants. Where a type
/// deserialises itself by its own rules and takes no made-up value, it covers what came before that.
///
/// # Cost
/// The first call for a type deserialises it a few times; later ones look it up.
pub(crate) fn number_of<T: DeserializeOwned + 'static>() -> u64 {
    static KNOWN: Mutex<Option<HashMap<TypeId, u64>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = known().get_or_insert_default().get(&TypeId::of::<T>()) {
        return *number;
    }
    // Without the lock: the code of the type may do as it likes.
    let number = hash_of(&texts::<T>());
    known().get_or_insert_default().insert(TypeId::of::<T>(), number);
    number
}

/// The shape as text, with the first variant of each enum: `[(u32, Order {item: str, amount: f64})]`.
pub(crate) fn text_of<T: DeserializeOwned>() -> String {
    trace::<T>(0).text
}

/// One text for each variant of the largest enum, so that all variants are seen.
fn texts<T: DeserializeOwned>() -> Vec<String> {
    let first = trace::<T>(0);
    let passes = first.variants.min(VARIANTS_SEEN);
    std::iter::once(first.text).chain((1..passes).map(|pass| trace::<T>(pass).text)).collect()
}

fn trace<T: DeserializeOwned>(pass: usize) -> Trace {
    let mut trace = Trace { text: String::new(), open: Vec::new(), variants: 0, pass };
    // A type that panics over a made-up value is as one that refuses it.
    if !matches!(catch_unwind(AssertUnwindSafe(|| T::deserialize(&mut trace))), Ok(Ok(_))) {
        trace.text.push('…');
    }
    trace
}

struct Trace {
    text: String,
    /// The named types that the value in hand is a part of.
    open: Vec<&'static str>,
    /// Variants of the largest enum seen.
    variants: usize,
    /// Which variant to choose.
    pass: usize,
}

impl Trace {
    fn say(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A named type, which ends here if it is a part of itself.
    fn named<V>(
        &mut self,
        name: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<V, Error>,
    ) -> Result<V, Error> {
        self.say(name);
        if self.open.contains(&name) {
            return Err(Error::custom("a part of itself"));
        }
        self.open.push(name);
        let value = inside(self);
        self.open.pop();
        value
    }
}

/// What is said of a value of a plain type, and the value.
macro_rules! plain {
    ($($method:ident $text:literal $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.say($text);
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Trace {
    type Error = Error;

    plain! {
        deserialize_bool "bool" visit_bool false;
        // Not 0, which some numbers cannot be.
        deserialize_i8 "i8" visit_i8 1;
        deserialize_i16 "i16" visit_i16 1;
        deserialize_i32 "i32" visit_i32 1;
        deserialize_i64 "i64" visit_i64 1;
        deserialize_i128 "i128" visit_i128 1;
        deserialize_u8 "u8" visit_u8 1;
        deserialize_u16 "u16" visit_u16 1;
        deserialize_u32 "u32" visit_u32 1;
        deserialize_u64 "u64" visit_u64 1;
        deserialize_u128 "u128" visit_u128 1;
        deserialize_f32 "f32" visit_f32 1.0;
        deserialize_f64 "f64" visit_f64 1.0;
        deserialize_char "char" visit_char 'a';
        deserialize_str "str" visit_str "";
        deserialize_string "str" visit_str "";
        deserialize_bytes "bytes" visit_bytes &[];
        deserialize_byte_buf "bytes" visit_bytes &[];
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("it asks for whatever there is"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("optional ");
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("()");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.say(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.named(name, |trace| {
            trace.say("(");
            let value = visitor.visit_newtype_struct(&mut *trace);
            trace.say(")");
            value
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("[");
        let value = visitor.visit_seq(Elements { trace: self, left: 1, first: true, whole: false })?;
        self.say("]");
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.say("(");
        let value = visitor.visit_seq(Elements { trace: self, left: len, first: true, whole: true })?;
        self.say(")");
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.named(name, |trace| trace.deserialize_tuple(len, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("{");
        let value = visitor.visit_map(Elements { trace: self, left: 1, first: true, whole: false })?;
        self.say("}");
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.named(name, |trace| fields_of(trace, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.variants = self.variants.max(variants.len());
        let chosen = self.pass % variants.len().max(1);
        self.named(name, |trace| {
            trace.say(" of ").say(&variants.join(" | ")).say(": ");
            visitor.visit_enum(Variant { trace, index: chosen })
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The fields of a struct or of a variant.
fn fields_of<'de, V: Visitor<'de>>(
    trace: &mut Trace,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, Error> {
    let mut names = fields.iter();
    trace.say(" {");
    let value = visitor.visit_seq(Fields { trace, fields: &mut names, first: true })?;
    // Serde lists aliases among the names: with any, they do not stand beside the fields that they belong to.
    if names.len() > 0 {
        trace.say(" | ").say(&names.as_slice().join(", "));
    }
    trace.say("}");
    Ok(value)
}

/// So many values, without names.
struct Elements<'a> {
    trace: &'a mut Trace,
    left: usize,
    first: bool,
    /// Whether all of them are needed; otherwise one that cannot be made up is left out.
    whole: bool,
}

impl Elements<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
        before: &str,
    ) -> Result<Option<S::Value>, Error> {
        if !std::mem::take(&mut self.first) {
            self.trace.say(before);
        }
        match seed.deserialize(&mut *self.trace) {
            Ok(value) => Ok(Some(value)),
            Err(_) if !self.whole => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.next(seed, ", ")
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.next(seed, ", ")
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.trace.say(": ");
        seed.deserialize(&mut *self.trace)
    }
}

struct Fields<'a> {
    trace: &'a mut Trace,
    fields: &'a mut std::slice::Iter<'static, &'static str>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        if !std::mem::take(&mut self.first) {
            self.trace.say(", ");
        }
        self.trace.say(field).say(": ");
        seed.deserialize(&mut *self.trace).map(Some)
    }
}

struct Variant<'a> {
    trace: &'a mut Trace,
    index: usize,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let index = IntoDeserializer::<Error>::into_deserializer(self.index as u64);
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.trace.say("unit");
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.trace)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.trace.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        fields_of(self.trace, fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Order {
        item: String,
        amount: f64,
        tags: BTreeMap<u8, Option<char>>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Side {
        Left,
        Right(u32, NonZeroU32),
        Middle { at: [i8; 2] },
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Tree {
        value: u32,
        children: Vec<Tree>,
    }

    /// Takes nothing that is made up.
    struct Picky;
    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            assert!(!text.is_empty(), "nothing starts with nothing");
            Ok(Picky)
        }
    }

    #[test]
    fn names_and_types_of_fields_are_seen() {
        assert_eq!(
            text_of::<Vec<(u32, Order)>>(),
            "[(u32, Order {item: str, amount: f64, tags: {u8: optional char}})]"
        );
        assert_eq!(text_of::<Tree>(), "Tree {value: u32, children: [Tree]}");
    }

    #[test]
    fn a_field_under_an_alias_is_not_taken_for_the_one_it_is_named_after() {
        mod before {
            #[derive(serde::Deserialize)]
            #[allow(dead_code)]
            pub(super) struct Pair {
                a: u64,
                b: u64,
            }
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Pair {
            #[serde(alias = "a")]
            b: u64,
            c: u64,
        }
        assert_ne!(number_of::<before::Pair>(), number_of::<Pair>());
    }

    #[test]
    fn all_variants_are_seen() {
        let names = "Side of Left | Right | Middle: ";
        let expected = ["unit", "(u32, u32)", " {at: (i8, i8)}"].map(|content| format!("{names}{content}"));
        assert_eq!(texts::<Side>(), expected);
    }

    #[test]
    fn a_type_with_rules_of_its_own_ends_what_is_seen() {
        assert_eq!(text_of::<(u8, Picky, u8)>(), "(u8, str…");
        assert_eq!(number_of::<(u8, Picky, u8)>(), number_of::<(u8, Picky, u16)>());
    }

    #[test]
    fn types_that_are_read_alike_have_one_number_and_others_do_not() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Amount(u64);
        mod renamed {
            #[derive(serde::Deserialize)]
            #[allow(dead_code)]
            pub(super) struct Order {
                item: String,
                price: f64,
                tags: std::collections::BTreeMap<u8, Option<char>>,
            }
        }
        assert_eq!(number_of::<Vec<u64>>(), number_of::<std::collections::BTreeSet<u64>>());
        assert_ne!(number_of::<Amount>(), number_of::<u64>());
        assert_ne!(number_of::<Order>(), number_of::<renamed::Order>());
        assert_ne!(number_of::<(u8, u16)>(), number_of::<(u16, u8)>());
    }
}
