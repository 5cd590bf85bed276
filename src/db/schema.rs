// Kept by `diesel print-schema`; see diesel.toml.

diesel::table! {
    users (id) {
        id -> BigInt,
        email -> Text,
        email_canonical -> Text,
        full_name -> Text,
        role -> Text,
        is_active -> Bool,
        password_hash -> Text,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
        token_nonce -> BigInt,
        revision -> BigInt,
        rehashes -> BigInt,
        password_cost -> Nullable<Text>,
    }
}

diesel::table! {
    products (id) {
        id -> BigInt,
        name -> Text,
        description -> Nullable<Text>,
        price_cents -> BigInt,
        stock -> BigInt,
        is_active -> Bool,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
        revision -> BigInt,
    }
}

diesel::table! {
    cache_changes (position) {
        position -> BigInt,
        mark -> BigInt,
        made_at -> BigInt,
        kind -> Text,
        id -> Nullable<BigInt>,
        detail -> Nullable<Text>,
    }
}

diesel::table! {
    cache_log (identity) {
        identity -> Text,
        lineage -> Text,
    }
}

diesel::table! {
    database_history (id) {
        id -> BigInt,
        ancestors -> Text,
        database_oid -> BigInt,
        written_by -> BigInt,
    }
}
