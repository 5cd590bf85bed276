//! Whoever names a position is answered from no earlier than that, by any instance.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Two, of_two};
use crate::support::{Answer, Call, TestApp};

/// A log that is looked at only when somebody waits for it.
const LAZY: &str = "[cache.log]\npoll = '900ms'\nout_of_touch = '60s'\npatience = '5s'";

/// A log that is never looked at in time.
const ASLEEP: &str = "[cache.log]\npoll = '1s'\nout_of_touch = '60s'\npatience = '0ms'";

fn position(answer: &Answer) -> String {
    let position = answer.header("alacena-position");
    assert!(position.parse::<u64>().is_ok(), "{position}");
    position.to_owned()
}

fn at(call: Call, position: &str) -> Call {
    call.header("alacena-position", position)
}

/// Writes through one instance, each followed by reads at the other with its position.
async fn goes_back_and_forth(two: &Two) {
    let Two {
        one, other, admin, ..
    } = two;
    let user = one.new_user(admin).await;
    let by_email = format!("/users/by-email/{}", user.email);
    let (product, _) = one.new_product(admin).await;
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 {
            (one, other)
        } else {
            (other, one)
        };
        let name = format!("Round {round}.");
        let change = json!({ "full_name": name });
        let written = writer
            .patch(&user.path())
            .by(admin)
            .json(&change)
            .await
            .expect(200);
        let seen = position(&written);
        for path in [&user.path(), &by_email, "/users"] {
            let read = at(reader.get(path).by(admin), &seen).await.expect(200);
            assert!(read.body.contains(&name), "{path} at {seen}: {read:?}");
        }
        let me = at(reader.get("/auth/me").by(&user.token), &seen).await;
        assert!(me.expect(200).body.contains(&name));
        let change = json!({ "name": name });
        let written = writer
            .patch(&product)
            .by(admin)
            .json(&change)
            .await
            .expect(200);
        for path in [product.as_str(), "/products"] {
            let read = at(reader.get(path).by(admin), &position(&written)).await;
            assert!(read.expect(200).body.contains(&name), "{path}");
        }
    }
    let made = one
        .post("/products")
        .by(admin)
        .json(&json!({ "name": "New", "price_cents": 1 }));
    let made = made.await.expect(201);
    let path = made.header("location").to_owned();
    at(other.get(&path).by(admin), &position(&made))
        .await
        .expect(200);
    let deleted = one.delete(&path).by(admin).await.expect(204);
    at(other.get(&path).by(admin), &position(&deleted))
        .await
        .problem(404, "absent");
    // A role that was taken away, and a token that is void.
    let inactive = json!({ "is_active": false });
    let written = one
        .patch(&user.path())
        .by(admin)
        .json(&inactive)
        .await
        .expect(200);
    let mine = at(other.get("/auth/me").by(&user.token), &position(&written));
    mine.await.problem(401, "unauthenticated");
    let cleared = one.delete("/cache/clear").by(admin).await.expect(200);
    at(other.get("/users").by(admin), &position(&cleared))
        .await
        .expect(200);
}

of_two!(a_read_that_names_a_position_is_never_from_before_it);
async fn a_read_that_names_a_position_is_never_from_before_it(two: Two) {
    goes_back_and_forth(&two).await;
    two.stop().await;
}

of_two!(whoever_waits_for_a_position_is_looked_after_at_once, LAZY);
async fn whoever_waits_for_a_position_is_looked_after_at_once(two: Two) {
    goes_back_and_forth(&two).await;
    two.stop().await;
}

of_two!(an_instance_that_lags_answers_from_the_database, ASLEEP);
async fn an_instance_that_lags_answers_from_the_database(two: Two) {
    goes_back_and_forth(&two).await;
    two.stop().await;
}

matrix!(a_position_that_is_none_is_refused);
async fn a_position_that_is_none_is_refused(app: TestApp) {
    let admin = app.admin().await;
    for position in ["", "x", "-1", "1.5", "99999999999999999999999", "1,", "1 2"] {
        let read = at(app.get("/users/1").by(&admin), position).await;
        let read = read.problem(400, "malformed");
        assert!(read.body.contains("Alacena-Position"), "{read:?}");
    }
    for position in ["0", "1", " 1 ", "1, 2"] {
        at(app.get("/users/1").by(&admin), position)
            .await
            .expect(200);
    }
}

matrix!(a_position_that_nobody_has_reached_costs_a_query_and_no_more);
async fn a_position_that_nobody_has_reached_costs_a_query_and_no_more(app: TestApp) {
    let admin = app.admin().await;
    let mut shortest = Duration::MAX;
    for path in [
        "/users/1",
        "/users",
        "/auth/me",
        "/users/by-email/admin@example.com",
    ] {
        let asked = Instant::now();
        let read = at(app.get(path).by(&admin), "9000000000000000000").await;
        shortest = shortest.min(asked.elapsed());
        let read = read.expect(200);
        assert!(!read.is_hit(), "{read:?}");
    }
    let absent = at(app.get("/users/99").by(&admin), "9000000000000000000").await;
    absent.problem(404, "absent");
    // A busy machine makes some slow; who waits for what never comes is slow each time.
    assert!(shortest < Duration::from_secs(1), "{shortest:?}");
}
