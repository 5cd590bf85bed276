//! Accounts looked after from the command line, while the service runs.

use nix::sys::signal::Signal;
use tokio::task::block_in_place;

use super::process::{Served, Shell};
use crate::support::{
    ADMIN_EMAIL, ADMIN_PASSWORD, Answer, Call, Storage, Store, Truth, client, eventually,
};

async fn token(served: &Served, password: &str) -> String {
    let form = [("username", ADMIN_EMAIL), ("password", password)];
    let login = Call::new(client().post(served.url("/auth/login"))).form(&form);
    let answer = login.await.expect(200).json();
    answer["access_token"].as_str().expect("a token").to_owned()
}

async fn me(served: &Served, token: &str) -> Answer {
    Call::new(client().get(served.url("/auth/me")))
        .by(token)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reset_behind_its_back_is_learnt_from_the_first_new_token() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url());
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    let old = token(&served, ADMIN_PASSWORD).await;
    me(&served, &old).await.expect(200);
    let reset = ["admin", "reset-password", ADMIN_EMAIL];
    block_in_place(|| shell.run_with(&reset, "brand new password\n")).expect(0);
    let new = token(&served, "brand new password").await;
    me(&served, &new).await.expect(200);
    me(&served, &old).await.problem(401, "unauthenticated");
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
}

/// On a running service, which reads it in the change log.
async fn tokens_are_revoked_from_the_command_line(storage: Storage) {
    let store = block_in_place(|| Store::fresh(storage));
    let shell = Shell::on(&store.url());
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    block_in_place(|| shell.run(&["admin", "revoke-tokens", "absent@example.com"])).expect(1);
    for revoke in [
        &["admin", "revoke-tokens", ADMIN_EMAIL][..],
        &["admin", "revoke-tokens"],
    ] {
        let old = token(&served, ADMIN_PASSWORD).await;
        me(&served, &old).await.expect(200);
        block_in_place(|| shell.run(revoke)).expect(0);
        eventually("the token is refused", async || {
            me(&served, &old).await.status.as_u16() == 401
        })
        .await;
        eventually("a new token opens the account", async || {
            let new = token(&served, ADMIN_PASSWORD).await;
            me(&served, &new).await.status.as_u16() == 200
        })
        .await;
    }
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
    block_in_place(|| drop(store));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_revoked_from_the_command_line_on_sqlite() {
    tokens_are_revoked_from_the_command_line(Storage::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_revoked_from_the_command_line_on_postgresql() {
    tokens_are_revoked_from_the_command_line(Storage::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_demoted_by_hand_is_promoted_again() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let shell = Shell::on(&store.url());
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    Truth::at(&store.url()).execute("UPDATE users SET role = 'user'");
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));

    block_in_place(|| shell.run(&["admin", "promote", "nobody@example.com"])).expect(1);
    block_in_place(|| shell.run(&["admin", "promote", ADMIN_EMAIL])).expect(0);
    let mut served = block_in_place(|| shell.serve(&["serve"]));
    let admin = token(&served, ADMIN_PASSWORD).await;
    let stats = Call::new(client().get(served.url("/cache/stats"))).by(&admin);
    stats.await.expect(200);
    served.signal(Signal::SIGTERM);
    assert_eq!(served.ended().await.0, Some(0));
}

#[test]
fn production_does_not_take_over_the_development_admin() {
    let store = Store::fresh(Storage::Sqlite);
    let mut served = Shell::on(&store.url()).serve(&["serve"]);
    served.signal(Signal::SIGTERM);
    let runtime = tokio::runtime::Runtime::new().expect("there is room for a runtime");
    assert_eq!(runtime.block_on(served.ended()).0, Some(0));
    let production = Shell::on(&store.url())
        .with("ALACENA_PROFILE", "production")
        .with("ALACENA__SERVER__PORT", "0")
        .with(
            "ALACENA__AUTH__JWT_SECRET",
            "a secret of thirty-two bytes and more",
        );
    let refused = production.run(&["serve"]).expect(1);
    assert!(refused.err.contains("reset-password"), "{}", refused.err);
    let seed = production.run(&["seed", "--users", "1"]).expect(1);
    assert!(seed.err.contains("--password"), "{}", seed.err);
}
