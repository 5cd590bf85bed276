use super::process::Shell;

const SECRET: &str = "a secret of one's own, which is long enough";

#[test]
fn the_configuration_comes_by_itself_and_its_secrets_are_masked() {
    let shell = Shell::new();
    let done = shell.run(&["check-config"]).expect(0);
    for secret in ["development-only", "admin123"] {
        assert!(!done.out.contains(secret), "{}", done.out);
        assert!(!done.err.contains(secret), "{}", done.err);
    }
    let table: toml::Table = done.out.parse().expect("it is TOML");
    assert_eq!(table["server"]["host"].as_str(), Some("127.0.0.1"));
    assert_eq!(table["server"]["port"].as_integer(), Some(8000));
    assert_eq!(table["auth"]["jwt_secret"].as_str(), Some("********"));
    assert_eq!(table["auth"]["admin_password"].as_str(), Some("********"));
    assert!(!shell.folder().join("data").exists(), "it only looks");
}

#[test]
fn the_password_in_a_url_is_masked_wherever_it_stands() {
    let url = "postgres://user:hunter2@db.example.com/alacena?password=hunter3&sslmode=require";
    let shell = Shell::new().with("ALACENA__DATABASE__URL", url);
    let done = shell.run(&["check-config"]).expect(0);
    assert!(!done.out.contains("hunter"), "{}", done.out);
    assert!(done.out.contains("db.example.com"), "{}", done.out);
    assert!(done.out.contains("sslmode=require"), "{}", done.out);
}

#[test]
fn what_is_wrong_in_a_file_is_refused_by_file_key_and_accepted_values() {
    let cases: [(&str, &[&str]); 14] = [
        ("[server]\nprot = 1", &["prot", "port"]),
        ("[sever]\nport = 1", &["sever", "server"]),
        (
            "[cache]\nbackend = 'memcached'",
            &["cache.backend", "memory", "redis", "tiered", "off"],
        ),
        (
            "[cache.memory]\nsize = '1MiB'",
            &["cache.memory", "size", "capacity"],
        ),
        (
            "[cache.memory]\ncapacity = 'much'",
            &["cache.memory.capacity"],
        ),
        ("[cache]\nuser_ttl = 'soon'", &["cache.user_ttl"]),
        ("[cache]\nuser_ttl = 5", &["cache.user_ttl"]),
        ("[server]\nport = 70000", &["server.port"]),
        ("[server]\nport = 'http'", &["server.port"]),
        (
            "[server]\ntrusted_proxies = ['x']",
            &["server.trusted_proxies", "10.0.0.0/8"],
        ),
        (
            "[server]\naccess_log = 'some'",
            &["server.access_log", "failures", "all"],
        ),
        (
            "[database]\nmigrate = 'never'",
            &["database.migrate", "auto", "check"],
        ),
        (
            "[database]\nsqlite_synchronous = 'off'",
            &["full", "normal"],
        ),
        ("[server\nport = 1", &["wrong.toml"]),
    ];
    for (text, named) in cases {
        let shell = Shell::new();
        let path = shell.file("wrong.toml", text);
        for command in ["check-config", "serve", "migrate"] {
            let done = shell.run(&["--config", &path, command]);
            assert!(done.err.contains("wrong.toml"), "{text}: {}", done.err);
            done.refuses(named);
        }
    }
    let shell = Shell::new();
    let done = shell.run(&["check-config", "--config", "no-such.toml"]);
    done.refuses(&["no-such.toml"]);
}

#[test]
fn values_that_cannot_be_meant_are_refused_by_key() {
    for (name, value, named) in [
        ("DATABASE__POOL_SIZE", "0", "database.pool_size"),
        ("DATABASE__URL", "mysql://localhost/x", "database.url"),
        ("DATABASE__URL", "alacena.db", "database.url"),
        ("DATABASE__WAIT", "0s", "database.wait"),
        ("CACHE__JITTER", "1.5", "cache.jitter"),
        ("CACHE__EAGER_REFRESH", "-0.1", "cache.eager_refresh"),
        ("CACHE__USER_TTL", "0s", "cache.user_ttl"),
        ("CACHE__REDIS__URL", "localhost:6379", "cache.redis.url"),
        ("CACHE__REDIS__URL", "http://localhost", "cache.redis.url"),
        ("CACHE__REDIS__URL", "redis://:6379", "cache.redis.url"),
        ("CACHE__REDIS__URL", "redis://h/one", "cache.redis.url"),
        ("CACHE__REDIS__HOST", "", "cache.redis.host"),
        ("CACHE__REDIS__PORT", "70000", "cache.redis.port"),
        ("CACHE__REDIS__USERNAME", "me", "cache.redis.password"),
        ("CACHE__REDIS__MODE", "cluster", "standalone"),
        ("CACHE__REDIS__POOL_SIZE", "0", "cache.redis.pool_size"),
        ("CACHE__REDIS__POOL_SIZE", "65", "cache.redis.pool_size"),
        ("CACHE__REDIS__BUDGET", "0s", "cache.redis.budget"),
        ("CACHE__REDIS__BUDGET", "1m", "cache.redis.budget"),
        ("CACHE__REDIS__LEASE", "1ms", "cache.redis.lease"),
        ("CACHE__LOG__POLL", "0s", "cache.log.poll"),
        ("CACHE__LOG__POLL", "300ms", "cache.log.poll"),
        ("CACHE__LOG__OUT_OF_TOUCH", "2m", "cache.log.out_of_touch"),
        ("CACHE__LOG__AGE", "1s", "cache.log.age"),
        ("CACHE__LOG__ROWS", "99", "cache.log.rows"),
        ("CACHE__OBSERVER__RATE", "-1.0", "cache.observer.rate"),
        (
            "CACHE__REDIS__CONNECT_TIMEOUT",
            "0s",
            "cache.redis.connect_timeout",
        ),
        ("AUTH__JWT_SECRET", "short", "auth.jwt_secret"),
        ("AUTH__LOGIN_ATTEMPTS", "0", "auth.login_attempts"),
        ("AUTH__ARGON2_MEMORY", "1KiB", "auth.argon2_memory"),
        ("AUTH__ADMIN_PASSWORD", "", "auth.admin_email"),
        ("SERVER__MAX_BODY", "0B", "server.max_body"),
    ] {
        let shell = Shell::new().with(&format!("ALACENA__{name}"), value);
        shell.run(&["check-config"]).refuses(&[named]);
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_refused_by_variable() {
    for (name, value, named) in [
        ("ALACENA__SERVER__PROT", "1", "port"),
        ("ALACENA__SERVER__PORT", "http", "server.port"),
        ("ALACENA__SERVER", "x", "server"),
        ("ALACENA__CACHE__BACKEND", "memcached", "memory"),
        ("ALACENA__CACHE__USER_TTL", "soon", "cache.user_ttl"),
        ("ALACENA__NO__SUCH_KEY", "x", "no"),
    ] {
        let shell = Shell::new().with(name, value);
        shell.run(&["check-config"]).refuses(&[name, named]);
    }
}

#[test]
fn a_secrets_file_that_is_missing_is_named_with_its_variable() {
    let variable = "ALACENA__AUTH__JWT_SECRET_FILE";
    let shell = Shell::new().with(variable, "/no/such/file");
    let done = shell.run(&["check-config"]);
    done.refuses(&[variable, "/no/such/file"]);
}

#[test]
fn a_refusal_shows_no_secret() {
    for text in [
        "[auth]\njwt_secret = 'hunter2",
        "[auth]\njwt_secret = ['hunter2']",
        "[auth]\nadmin_password = hunter2",
        "[auth]\nadmin_password = { hunter2 = 1 }",
        "[database]\nurl = 'mysql://user:hunter2@localhost/x'",
        "[database]\nurl = 'hunter2'",
    ] {
        let shell = Shell::new();
        let path = shell.file("wrong.toml", text);
        let done = shell.run(&["check-config", "--config", &path]);
        assert!(!done.err.contains("hunter2"), "{text}: {}", done.err);
        assert_eq!(done.code, Some(2), "{text}: {}", done.err);
    }
}

/// The port that is in effect.
fn port(shell: &Shell, arguments: &[&str]) -> i64 {
    let done = shell.run(arguments).expect(0);
    let table: toml::Table = done.out.parse().expect("it is TOML");
    table["server"]["port"].as_integer().expect("a number")
}

#[test]
fn later_layers_win() {
    let shell = Shell::new();
    assert_eq!(port(&shell, &["check-config"]), 8000);
    shell.file(
        "config/default.toml",
        "[server]\nport = 1001\nkeep_alive = '1s'",
    );
    assert_eq!(port(&shell, &["check-config"]), 1001);
    shell.file("config/development.toml", "[server]\nport = 1002");
    assert_eq!(port(&shell, &["check-config"]), 1002);
    shell.file("config/production.toml", "[server]\nport = 9999");
    let own = shell.file("own.toml", "[server]\nport = 1003");
    let with_file = ["check-config", "--config", &own];
    assert_eq!(port(&shell, &with_file), 1003);
    assert_eq!(port(&shell, &["check-config"]), 1002);
    let shell = shell.with("ALACENA__SERVER__PORT", "1004");
    assert_eq!(port(&shell, &with_file), 1004);
    let done = shell.run(&with_file).expect(0);
    assert!(done.out.contains("keep_alive = \"1s\""), "{}", done.out);
}

#[test]
fn the_config_folder_beside_the_file_counts_too() {
    let shell = Shell::new();
    shell.file("elsewhere/config/development.toml", "[server]\nport = 1002");
    let own = shell.file("elsewhere/own.toml", "[server]\nkeep_alive = '1s'");
    assert_eq!(port(&shell, &["check-config", "--config", &own]), 1002);
}

#[test]
fn a_secret_may_be_in_a_file() {
    let shell = Shell::new();
    let path = shell.file("secret", "too short\n");
    let shell = shell.with("ALACENA__AUTH__JWT_SECRET_FILE", &path);
    let done = shell.run(&["check-config"]);
    done.refuses(&["auth.jwt_secret", "9 bytes"]);
    shell.file("secret", &format!("{SECRET}\n"));
    let done = shell.run(&["check-config"]).expect(0);
    assert!(!done.out.contains(SECRET), "{}", done.out);
    // Over what a file says, as any variable.
    let own = shell.file("own.toml", "[auth]\njwt_secret = 'short'");
    let done = shell.run(&["check-config", "--config", &own]);
    // Each layer is only read; what is in effect is what is judged.
    done.expect(0);
}

#[test]
fn a_dotenv_file_is_read_in_development_only_and_never_wins() {
    let shell = Shell::new();
    shell.file(
        ".env",
        "ALACENA__SERVER__PORT=1005\nALACENA__SERVER__WORKERS=3\n",
    );
    assert_eq!(port(&shell, &["check-config"]), 1005);
    assert_eq!(port(&shell, &["check-config", "--profile", "test"]), 0);
    let shell = shell.with("ALACENA__SERVER__PORT", "1006");
    assert_eq!(port(&shell, &["check-config"]), 1006);
}

#[test]
fn lists_and_nothings_can_be_written_in_a_variable() {
    let shell = Shell::new()
        .with("ALACENA__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")
        .with("ALACENA__SERVER__METRICS_ADDRESS", "127.0.0.1:9999")
        .with("ALACENA__CACHE__JITTER", "0")
        .with("ALACENA__CACHE__MEMORY__CAPACITY", "1MiB");
    let done = shell.run(&["check-config"]).expect(0);
    let table: toml::Table = done.out.parse().expect("it is TOML");
    let proxies = table["server"]["trusted_proxies"].as_array();
    assert_eq!(proxies.map(Vec::len), Some(2));
    assert_eq!(table["cache"]["jitter"].as_float(), Some(0.0));
}

#[test]
fn production_refuses_what_everybody_knows() {
    let production = || Shell::new().with("ALACENA_PROFILE", "production");
    let done = production().run(&["check-config"]);
    done.refuses(&["auth.jwt_secret", "production"]);
    let secret = |value: &str| production().with("ALACENA__AUTH__JWT_SECRET", value);
    for known in [
        "short",
        "development-only-secret-development-only",
        "test-only-secret-test-only-secret",
    ] {
        let done = secret(known).run(&["check-config"]);
        done.refuses(&["auth.jwt_secret"]);
    }
    let admin = |password: &str| {
        secret(SECRET)
            .with("ALACENA__AUTH__ADMIN_EMAIL", "admin@example.com")
            .with("ALACENA__AUTH__ADMIN_PASSWORD", password)
    };
    let done = admin("admin123").run(&["serve"]);
    done.refuses(&["auth.admin_password"]);
    let done = admin("a password of one's own").run(&["check-config"]);
    let done = done.expect(0);
    assert!(!done.out.contains("of one's own"), "{}", done.out);
    // It may listen anywhere; nobody's profile is as free as that.
    let anywhere = admin("a password of one's own").with("ALACENA__SERVER__HOST", "0.0.0.0");
    anywhere.run(&["check-config"]).expect(0);
}

#[test]
fn development_listens_on_loopback_only() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let shell = Shell::new().with("ALACENA__SERVER__HOST", host);
        for command in ["check-config", "serve"] {
            shell.run(&[command]).refuses(&["server.host", host]);
        }
    }
    for host in ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"] {
        let shell = Shell::new().with("ALACENA__SERVER__HOST", host);
        shell.run(&["check-config"]).expect(0);
    }
}

#[test]
fn a_profile_of_ones_own_is_a_file() {
    let shell = Shell::new();
    let done = shell.run(&["check-config", "--profile", "staging"]);
    done.refuses(&["staging", "development", "production", "test"]);
    let text = format!("[server]\nport = 1007\n[auth]\njwt_secret = \"{SECRET}\"");
    shell.file("config/staging.toml", &text);
    assert_eq!(
        port(&shell, &["check-config", "--profile", "staging"]),
        1007
    );
}

#[test]
fn a_value_beyond_its_limits_is_named_with_where_it_stands() {
    let shell = Shell::new();
    let file = shell.file("own.toml", "[cache]\nuser_ttl = '0s'");
    let done = shell.run(&["check-config", "--config", &file]);
    done.refuses(&["own.toml", "cache.user_ttl", "longer than 0s"]);
    let beyond = [
        ("ALACENA__AUTH__JWT_SECRET", "short"),
        ("ALACENA__AUTH__ADMIN_EMAIL", "nonsense"),
        ("ALACENA__AUTH__TOKEN_TTL", "500years"),
        ("ALACENA__AUTH__ARGON2_CONCURRENCY", "9223372036854775807"),
        ("ALACENA__SERVER__WORKERS", "5000"),
        ("ALACENA__DATABASE__URL", "sqlite://:memory:"),
        ("ALACENA__DATABASE__URL", "sqlite://"),
    ];
    for (variable, value) in beyond {
        let done = Shell::new().with(variable, value).run(&["check-config"]);
        done.refuses(&[variable]);
    }
}
