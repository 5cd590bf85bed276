//! Keys made from arguments.
//!
//! No two lists of values make the same name, whatever they contain: a value is written so that it
//! holds none of the characters that stand between values.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use compact_str::CompactString;

use super::key::Key;

/// What stands between values, and what begins an escape. A value never holds any of these but in
/// pairs of parentheses with commas inside.
const STRUCTURE: [char; 6] = ['%', ':', '=', ',', '(', ')'];

/// A value that can be part of a [`Key`].
///
/// Two values that are not equal must be written differently; what the [`KeySlot`] does with a text
/// or a list sees to the rest. A type of one's own hands on what it consists of:
///
/// ```
/// use alacena::cache::{KeyBuilder, KeyPart, KeySlot};
///
/// struct Place { country: String, city: String }
///
/// impl KeyPart for Place {
///     fn write(&self, slot: KeySlot<'_>) {
///         (&self.country, &self.city).write(slot);
///     }
/// }
///
/// let place = Place { country: "es".into(), city: "León (ciudad)".into() };
/// let key = KeyBuilder::new("weather").argument("at", &place).build();
/// assert_eq!(key.name(), "weather:at=(es,León %28ciudad%29,)");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a key",
    label = "this is no `KeyPart`",
    note = "leave the argument out with `skip(…)` if no answer depends on it, or implement \
            `alacena::cache::KeyPart`"
)]
pub trait KeyPart {
    /// Writes the value.
    fn write(&self, slot: KeySlot<'_>);
}

/// Room for one value in the name of a key.
pub struct KeySlot<'a>(&'a mut CompactString);

impl KeySlot<'_> {
    /// A value that is a text.
    pub fn text(self, text: &str) {
        for c in text.chars() {
            if STRUCTURE.contains(&c) || c.is_control() {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(self.0, "%{byte:02X}");
                }
            } else {
                self.0.push(c);
            }
        }
    }

    /// A value that is a text without any character that would have to be escaped.
    fn plain(self, text: &str) {
        self.0.push_str(text);
    }

    /// A value that consists of others, in this order.
    pub fn list(self, items: impl FnOnce(&mut KeyList<'_>)) {
        self.0.push('(');
        items(&mut KeyList(self.0));
        self.0.push(')');
    }
}

/// Room for the values of a list.
pub struct KeyList<'a>(&'a mut CompactString);

impl KeyList<'_> {
    /// The next value.
    pub fn item(&mut self, value: &(impl KeyPart + ?Sized)) {
        value.write(KeySlot(self.0));
        // After each, so that no value and an empty one are not the same.
        self.0.push(',');
    }
}

/// Makes a [`Key`] out of names and values.
///
/// ```
/// use alacena::cache::KeyBuilder;
///
/// let key = KeyBuilder::new("rates").argument("currency", "EUR").argument("day", &7).build();
/// assert_eq!(key.name(), "rates:currency=EUR:day=7");
/// let key = KeyBuilder::new("product:").value(&7).build();
/// assert_eq!(key.name(), "product:7");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyBuilder {
    name: CompactString,
    /// How much of it its beginning is, without the colon that ends it.
    kind: usize,
}

impl KeyBuilder {
    /// A key whose name begins like this, which is also its [kind](Key::kind).
    pub fn new(beginning: &str) -> Self {
        Self {
            name: CompactString::new(beginning),
            kind: beginning.trim_end_matches(':').len(),
        }
    }

    /// Goes on with a name and a value: `:name=value`.
    pub fn argument(self, name: &str, value: &(impl KeyPart + ?Sized)) -> Self {
        self.text(":").text(name).text("=").value(value)
    }

    /// Goes on with this text as it is. Values that a colon or an equals sign keeps apart do not run
    /// into each other.
    pub fn text(mut self, text: &str) -> Self {
        self.name.push_str(text);
        self
    }

    /// Goes on with a value.
    pub fn value(mut self, value: &(impl KeyPart + ?Sized)) -> Self {
        value.write(KeySlot(&mut self.name));
        self
    }

    /// The key.
    pub fn build(self) -> Key {
        Key::of_kind(self.kind, self.name)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl KeyPart for $integer {
            fn write(&self, slot: KeySlot<'_>) {
                slot.plain(itoa::Buffer::new().format(*self));
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl KeyPart for bool {
    fn write(&self, slot: KeySlot<'_>) {
        slot.plain(if *self { "true" } else { "false" });
    }
}

impl KeyPart for char {
    fn write(&self, slot: KeySlot<'_>) {
        slot.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for str {
    fn write(&self, slot: KeySlot<'_>) {
        slot.text(self);
    }
}

impl KeyPart for String {
    fn write(&self, slot: KeySlot<'_>) {
        slot.text(self);
    }
}

impl<T: KeyPart + ?Sized> KeyPart for &T {
    fn write(&self, slot: KeySlot<'_>) {
        (**self).write(slot);
    }
}

impl<T: KeyPart + ?Sized> KeyPart for Box<T> {
    fn write(&self, slot: KeySlot<'_>) {
        (**self).write(slot);
    }
}

impl<T: KeyPart + ?Sized> KeyPart for Arc<T> {
    fn write(&self, slot: KeySlot<'_>) {
        (**self).write(slot);
    }
}

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    fn write(&self, slot: KeySlot<'_>) {
        (**self).write(slot);
    }
}

/// A list of one, or of none.
impl<T: KeyPart> KeyPart for Option<T> {
    fn write(&self, slot: KeySlot<'_>) {
        self.as_slice().write(slot);
    }
}

impl<T: KeyPart> KeyPart for [T] {
    fn write(&self, slot: KeySlot<'_>) {
        slot.list(|list| self.iter().for_each(|item| list.item(item)));
    }
}

impl<T: KeyPart> KeyPart for Vec<T> {
    fn write(&self, slot: KeySlot<'_>) {
        self.as_slice().write(slot);
    }
}

impl<T: KeyPart, const N: usize> KeyPart for [T; N] {
    fn write(&self, slot: KeySlot<'_>) {
        self.as_slice().write(slot);
    }
}

macro_rules! tuples {
    ($(($($item:ident)*))*) => {$(
        impl<$($item: KeyPart),*> KeyPart for ($($item,)*) {
            fn write(&self, slot: KeySlot<'_>) {
                #[allow(non_snake_case, reason = "a tuple's items go by the names of their types")]
                let ($($item,)*) = self;
                slot.list(|list| {
                    $(list.item($item);)*
                });
            }
        }
    )*};
}

tuples!((A)(A B)(A B C)(A B C D));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &(impl KeyPart + ?Sized)) -> String {
        KeyBuilder::new("").value(value).build().name().to_owned()
    }

    #[test]
    fn values_are_written_as_a_person_would_read_them() {
        assert_eq!(written(&-7), "-7");
        assert_eq!(written("León, 7%"), "León%2C 7%25");
        assert_eq!(written("a\nb\u{85}"), "a%0Ab%C2%85");
        assert_eq!(written(&Some("x")), "(x,)");
        assert_eq!(written(&None::<i64>), "()");
        assert_eq!(written(&vec![true, false]), "(true,false,)");
        assert_eq!(written(&(1, 'x', "")), "(1,x,,)");
    }

    #[test]
    fn a_keys_kind_is_how_its_name_begins() {
        let key = |beginning| KeyBuilder::new(beginning).value("a:b").build();
        assert_eq!(key("user:email:").kind(), "user:email");
        assert_eq!(key("row").kind(), "row");
        let rates = KeyBuilder::new("rates").argument("day", &7).build();
        assert_eq!(rates.kind(), "rates");
    }

    #[test]
    fn what_is_nearly_the_same_is_not_the_same() {
        let all = [
            written(&None::<Option<&str>>),
            written(&Some(None::<&str>)),
            written(&Some(Some(""))),
            written(&Some(Some("()"))),
            written(&vec!["", ""]),
            written(&vec!["", "", ""]),
            written(&vec!["a", "b"]),
            written(&vec!["a,b"]),
            written("(a,b,)"),
            written("%2C"),
            written(","),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{one} is there twice");
        }
    }

    /// Names and values that like to be mistaken for each other.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab%:=,()0-9ACD2n\n]{0,5}",
            "\\PC{0,8}",
            proptest::sample::select(vec!["%3A", ":b=", "(,)", ""]).prop_map(str::to_owned),
        ]
    }

    type Values = (String, Option<String>, Vec<(String, Option<i8>)>, i64);

    fn values() -> impl Strategy<Value = Values> {
        let list = proptest::collection::vec((text(), any::<Option<i8>>()), 0..4);
        (text(), proptest::option::of(text()), list, -3..3_i64)
    }

    fn key((a, b, c, d): &Values) -> String {
        let key = KeyBuilder::new("f").argument("a", a).argument("b", b);
        let key = key.argument("c", c).argument("d", d).build();
        key.name().to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn different_values_make_different_keys(one in values(), other in values()) {
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn a_value_holds_nothing_that_keeps_values_apart(value in values()) {
            let written = written(&(&value.0, &value.1, &value.2, &value.3));
            prop_assert!(!written.contains([':', '=']) && !written.chars().any(char::is_control));
            let mut depth = 0;
            for c in written.chars() {
                depth += i32::from(c == '(') - i32::from(c == ')');
                prop_assert!(depth >= 0 && (c != ',' || depth > 0));
            }
            prop_assert_eq!(depth, 0);
        }

        #[test]
        fn a_text_can_be_told_from_its_key(text in "\\PC{0,20}") {
            let written = written(&text);
            let read = percent_decoded(&written);
            prop_assert_eq!(read, text.into_bytes());
        }
    }

    fn percent_decoded(text: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let [byte, after @ ..] = rest {
            if let (b'%', [high, low, after @ ..]) = (byte, after) {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = after;
            } else {
                bytes.push(*byte);
                rest = after;
            }
        }
        bytes
    }
}
