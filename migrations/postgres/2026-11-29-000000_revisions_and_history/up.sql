-- Numbers that come again prove nothing: after a restored backup the same id, version or token version
-- belongs to something else. What tokens and entity tags carry is random.

DROP TRIGGER raise_version ON users;
DROP TRIGGER raise_version ON products;
DROP FUNCTION raise_version();

-- `token_nonce`: a token carries its account's. Another one revokes every token issued before.
-- `revision`: the entity tag of this state of the row.
-- `rehashes`: a change of `password_hash` that also raises it hashes the same password at another cost.
ALTER TABLE users
    DROP COLUMN token_version,
    ADD COLUMN token_nonce BIGINT NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    ADD COLUMN revision BIGINT NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    ADD COLUMN rehashes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE products
    ADD COLUMN revision BIGINT NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0);

-- For changes by hand; the service draws new values itself, because SQLite needs that.
CREATE FUNCTION redraw_revision() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := hashtextextended(gen_random_uuid()::text, 0);
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION redraw_token_nonce() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.token_nonce := hashtextextended(gen_random_uuid()::text, 0);
    RETURN NEW;
END $$;

CREATE TRIGGER redraw_revision BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.revision = OLD.revision AND NEW.rehashes = OLD.rehashes)
    EXECUTE FUNCTION redraw_revision();
CREATE TRIGGER redraw_token_nonce BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.token_nonce = OLD.token_nonce
        AND ((NEW.password_hash <> OLD.password_hash AND NEW.rehashes = OLD.rehashes)
            OR NEW.is_active < OLD.is_active))
    EXECUTE FUNCTION redraw_token_nonce();
CREATE TRIGGER redraw_revision BEFORE UPDATE ON products
    FOR EACH ROW WHEN (NEW.revision = OLD.revision) EXECUTE FUNCTION redraw_revision();

-- Which history of the database this is, in one row: see src/db/history.rs.
CREATE TABLE database_history (
    id BIGINT NOT NULL,
    -- The histories that this one goes on from, the latest first.
    ancestors TEXT NOT NULL,
    database_oid BIGINT NOT NULL,
    -- The transaction that wrote this row. A row that was written by another one, as its system
    -- column `xmin` tells, came out of a dump.
    written_by BIGINT NOT NULL
);
INSERT INTO database_history
    SELECT hashtextextended(gen_random_uuid()::text, 0), '', oid::bigint, 0
    FROM pg_database WHERE datname = current_database();
-- Migrations run in subtransactions, whose id only the row itself tells.
UPDATE database_history SET written_by = xmin::text::bigint;
