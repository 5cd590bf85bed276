-- Numbers that come again prove nothing: after a restored backup the same id, version or token version
-- belongs to something else. What tokens and entity tags carry is random.

DROP TRIGGER users_raise_version;
DROP TRIGGER users_cache_log_update;
DROP TRIGGER products_raise_version;
DROP TRIGGER products_cache_log_update;

-- `token_nonce`: a token carries its account's. Another one revokes every token issued before.
-- `revision`: the entity tag of this state of the row.
-- `rehashes`: a change of `password_hash` that also raises it hashes the same password at another cost.
--
-- SQLite adds no column whose default is random: the triggers below fill them for rows inserted by hand.
ALTER TABLE users DROP COLUMN token_version;
ALTER TABLE users ADD COLUMN token_nonce BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN rehashes BIGINT NOT NULL DEFAULT 0;
UPDATE users SET token_nonce = random(), revision = random();
ALTER TABLE products ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
UPDATE products SET revision = random();

-- A row that is drawn for after its insertion has been logged already.
CREATE TRIGGER users_cache_log_update AFTER UPDATE ON users
WHEN OLD.token_nonce <> 0 AND OLD.revision <> 0 BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'user', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id, detail) VALUES ('user', NEW.id, NEW.email_canonical);
END;
CREATE TRIGGER products_cache_log_update AFTER UPDATE ON products WHEN OLD.revision <> 0 BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'product', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id) VALUES ('product', NEW.id);
END;

CREATE TRIGGER users_draw AFTER INSERT ON users WHEN NEW.token_nonce = 0 OR NEW.revision = 0 BEGIN
    UPDATE users SET token_nonce = random(), revision = random() WHERE id = NEW.id;
END;
CREATE TRIGGER products_draw AFTER INSERT ON products WHEN NEW.revision = 0 BEGIN
    UPDATE products SET revision = random() WHERE id = NEW.id;
END;

-- The service draws new values itself, because RETURNING does not see what triggers change. These are
-- for changes by hand. The first condition: the row was changed and kept its revision. The second: the
-- password was changed, or the account deactivated, and tokens were kept.
CREATE TRIGGER users_redraw AFTER UPDATE ON users
WHEN (NEW.revision = OLD.revision AND NEW.rehashes = OLD.rehashes)
    OR (NEW.token_nonce = OLD.token_nonce
        AND ((NEW.password_hash <> OLD.password_hash AND NEW.rehashes = OLD.rehashes)
            OR NEW.is_active < OLD.is_active))
BEGIN
    UPDATE users SET
        version = NEW.version + (NEW.version = OLD.version AND NEW.rehashes = OLD.rehashes),
        revision = random(),
        token_nonce = CASE
            WHEN NEW.token_nonce = OLD.token_nonce
                AND ((NEW.password_hash <> OLD.password_hash AND NEW.rehashes = OLD.rehashes)
                    OR NEW.is_active < OLD.is_active)
            THEN random() ELSE NEW.token_nonce END
    WHERE id = NEW.id;
END;
CREATE TRIGGER products_redraw AFTER UPDATE ON products WHEN NEW.revision = OLD.revision BEGIN
    UPDATE products SET version = NEW.version + (NEW.version = OLD.version), revision = random()
    WHERE id = NEW.id;
END;

-- Which history of the database this is, in one row: see src/db/history.rs.
CREATE TABLE database_history (
    id BIGINT NOT NULL,
    -- The histories that this one goes on from, the latest first.
    ancestors TEXT NOT NULL,
    -- PostgreSQL only.
    database_oid BIGINT NOT NULL,
    written_by BIGINT NOT NULL
);
INSERT INTO database_history VALUES (random(), '', 0, 0);
