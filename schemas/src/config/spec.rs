//! The one table of keys. A section is declared once, with `section!`: struct, defaults and [`KeySpec`]s come from the
//! same lines, so the example file, the checks, the documentation and the environment names cannot disagree with what is read.

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Section it stands in; for keys of an array of tables the dotted path of that array.
    pub section: &'static str,
    /// Its name within the section.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as TOML; `None` for a key that is not set.
    pub default: Option<&'static str>,
    /// What it does, with its unit.
    pub doc: &'static str,
    /// A change takes effect only at the next start.
    pub restart: bool,
    /// Each node has its own: it stays in the node's file and environment, also in a cluster.
    pub local: bool,
    /// Never shown.
    pub secret: bool,
    /// A short environment name besides `GROK2API__SECTION__KEY`.
    pub env: Option<&'static str>,
}

impl KeySpec {
    /// `section.key`, or the key alone at the top of a file.
    pub fn path(&self) -> String {
        match self.section {
            "" => self.key.to_owned(),
            section => format!("{section}.{}", self.key),
        }
    }

    /// `GROK2API__SECTION__KEY`.
    pub fn env_name(&self) -> String {
        env_name(self.section, self.key)
    }
}

/// `GROK2API__SECTION__KEY`.
pub fn env_name(section: &str, key: &str) -> String {
    format!(
        "GROK2API__{}__{}",
        section.to_ascii_uppercase(),
        key.to_ascii_uppercase()
    )
}

/// One section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct SectionSpec {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys, in the order the example file shows them.
    pub keys: &'static [KeySpec],
}

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A text of a certain form.
    Text(Form),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number, both ends included.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number, both ends included.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A list of texts of a certain form.
    Texts(Form),
    /// A list of whole numbers, both ends included.
    Ints {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// An array of tables (`[[section.key]]`) with these keys.
    Tables(&'static [KeySpec]),
    /// Tables by a name of the operator's choice (`[section.key."name"]`), each with these keys.
    TableMap(&'static [KeySpec]),
}

/// The form of a text; an empty text always means "not set" and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Any,
    /// `http://…` or `https://…`.
    HttpUrl,
    /// `http://…`, `https://…`, `socks5://…` or `socks5h://…`.
    ProxyUrl,
    /// `nats://…`, `tls://…`, `ws://…` or `wss://…`; several with commas.
    NatsUrl,
    /// An IP address or a network such as `10.0.0.0/8`.
    Network,
    /// The name of an HTTP header.
    HeaderName,
    /// A regular expression.
    Regex,
    /// A log level, or directives such as `info,grok2api=debug`.
    LogLevel,
    /// An IP address or a host name to listen on.
    Host,
}

/// Declares an enumeration of texts that a key chooses from; the first is the default.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $(#[doc = $first_doc:literal])* $first:ident = $first_text:literal
            $(, $(#[doc = $var_doc:literal])* $variant:ident = $text:literal)* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[doc = $first_doc])*
            #[default]
            #[serde(rename = $first_text)]
            $first,
            $($(#[doc = $var_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, as the file writes it.
            pub const NAMES: &'static [&'static str] = &[$first_text $(, $text)*];

            /// The value as the file writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $name::$first => $first_text,
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

/// The Rust type behind a kind.
macro_rules! kind_type {
    (flag) => { bool };
    (text $form:ident) => { String };
    (secret) => { $crate::config::Secret };
    (choice $name:ident) => { $name };
    (int $ty:ident $min:literal ..= $max:literal) => { $ty };
    (number $min:literal ..= $max:literal) => { f64 };
    (texts $form:ident) => { Vec<String> };
    (ints $ty:ident $min:literal ..= $max:literal) => { Vec<$ty> };
    (maybe $($kind:tt)+) => { Option<kind_type!($($kind)+)> };
    (tables $name:ident) => { Vec<$name> };
    (table_map $name:ident) => { std::collections::BTreeMap<String, $name> };
}

/// The default value, from the literal that also stands in the example file.
macro_rules! kind_default {
    ((text $form:ident) $value:literal) => { String::from($value) };
    ((secret) $value:literal) => { $crate::config::Secret::from($value) };
    ((choice $name:ident) $value:literal) => { <$name>::default() };
    ((texts $form:ident) [$($value:literal),*]) => { vec![$(String::from($value)),*] };
    ((ints $ty:ident $min:literal ..= $max:literal) [$($value:literal),*]) => { vec![$($value),*] };
    ($kind:tt unset) => { Default::default() };
    ($kind:tt $value:literal) => { $value };
}

/// The kind as data.
macro_rules! kind_spec {
    (flag) => { $crate::config::spec::Kind::Flag };
    (text $form:ident) => { $crate::config::spec::Kind::Text($crate::config::spec::Form::$form) };
    (secret) => { $crate::config::spec::Kind::Text($crate::config::spec::Form::Any) };
    (choice $name:ident) => { $crate::config::spec::Kind::Choice($name::NAMES) };
    (int $ty:ident $min:literal ..= $max:literal) => { $crate::config::spec::Kind::Int { min: $min, max: $max } };
    (number $min:literal ..= $max:literal) => { $crate::config::spec::Kind::Number { min: $min, max: $max } };
    (texts $form:ident) => { $crate::config::spec::Kind::Texts($crate::config::spec::Form::$form) };
    (ints $ty:ident $min:literal ..= $max:literal) => { $crate::config::spec::Kind::Ints { min: $min, max: $max } };
    (maybe $($kind:tt)+) => { kind_spec!($($kind)+) };
    (tables $name:ident) => { $crate::config::spec::Kind::Tables($name::KEYS) };
    (table_map $name:ident) => { $crate::config::spec::Kind::TableMap($name::KEYS) };
}

/// Whether the kind is a secret.
macro_rules! kind_secret {
    (secret) => {
        true
    };
    ($($kind:tt)+) => {
        false
    };
}

/// The default as TOML text.
macro_rules! kind_toml {
    (unset) => {
        None
    };
    ($value:tt) => {
        Some(stringify!($value))
    };
}

/// What follows a default: `restart`, `local`, `env "NAME"`, in that order, each or none. Whether `restart` is there.
macro_rules! key_restart {
    (restart $($rest:tt)*) => {
        true
    };
    ($($rest:tt)*) => {
        false
    };
}

/// See `key_restart!`.
macro_rules! key_local {
    (restart $($rest:tt)*) => {
        key_local!($($rest)*)
    };
    (local $($rest:tt)*) => {
        true
    };
    ($($rest:tt)*) => {
        false
    };
}

/// See `key_restart!`.
macro_rules! key_env {
    (restart $($rest:tt)*) => {
        key_env!($($rest)*)
    };
    (local $($rest:tt)*) => {
        key_env!($($rest)*)
    };
    (env $name:literal) => {
        Some($name)
    };
    () => {
        None
    };
}

/// Declares a section (or the rows of an array of tables): `name: (kind) = default [restart local env "NAME"];`.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident in $section:literal {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident : ($($kind:tt)+) = $default:tt $([$($flag:tt)+])?;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $key_doc])+ pub $key: kind_type!($($kind)+),)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: kind_default!(($($kind)+) $default),)* }
            }
        }

        impl $name {
            /// Its keys.
            pub const KEYS: &'static [$crate::config::spec::KeySpec] = &[
                $($crate::config::spec::KeySpec {
                    section: $section,
                    key: stringify!($key),
                    kind: kind_spec!($($kind)+),
                    default: kind_toml!($default),
                    doc: concat!($($key_doc),+),
                    restart: key_restart!($($($flag)+)?),
                    local: key_local!($($($flag)+)?),
                    secret: kind_secret!($($kind)+),
                    env: key_env!($($($flag)+)?),
                },)*
            ];

            /// The section with its keys.
            pub const SECTION: $crate::config::spec::SectionSpec = $crate::config::spec::SectionSpec {
                name: $section,
                doc: concat!($($doc),*),
                keys: Self::KEYS,
            };
        }
    };
}

pub(super) use {
    choice, key_env, key_local, key_restart, kind_default, kind_secret, kind_spec, kind_toml, kind_type, section,
};
