-- What has changed, for every instance to void. Written by triggers, so that nothing that changes a
-- row can forget it: not the service, not psql, not a bulk load.
--
-- `position` is the transaction's id. Transactions do not commit in the order of their ids, so
-- whoever follows the log needs a snapshot to know what is still to come: see src/db/changes.rs.
CREATE TABLE cache_changes (
    position BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    -- Random, so that the same position in another history of this database is told apart.
    mark BIGINT NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    -- Milliseconds since the Unix epoch.
    made_at BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    kind TEXT NOT NULL CHECK (kind IN ('begin', 'user', 'product', 'clear', 'all')),
    id BIGINT,
    detail TEXT
);
CREATE INDEX cache_changes_position ON cache_changes (position, mark);

-- Which log this is, in one row. `lineage` tells the cluster and its timeline: where that is another,
-- positions mean nothing any more.
CREATE TABLE cache_log (
    identity TEXT NOT NULL,
    lineage TEXT NOT NULL
);
INSERT INTO cache_log (identity, lineage) VALUES (replace(gen_random_uuid()::text, '-', ''), '');
INSERT INTO cache_changes (kind) VALUES ('begin');

CREATE FUNCTION cache_position() RETURNS bigint
LANGUAGE sql AS 'SELECT pg_current_xact_id()::text::bigint';

-- Another text whenever a transaction has begun to write, or ended.
CREATE FUNCTION cache_snapshot() RETURNS text
LANGUAGE sql STABLE AS 'SELECT pg_current_snapshot()::text';

-- What the functions below mean by a name must not be for others to choose: temporary tables come last.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- With the rights of whoever owns the log: who may change a row need not be given any on the log.
CREATE FUNCTION cache_log_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_changes (kind, id, detail) SELECT 'user', id, email_canonical FROM changed;
    RETURN NULL;
END $$;

CREATE FUNCTION cache_log_products() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'product', id FROM changed;
    RETURN NULL;
END $$;

CREATE FUNCTION cache_log_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_changes (kind) VALUES ('all');
    RETURN NULL;
END $$;

REVOKE EXECUTE ON FUNCTION cache_log_users(), cache_log_products(), cache_log_all() FROM PUBLIC;

-- Entity tags are made of versions. Whoever changes a row by hand does not think of them.
CREATE FUNCTION raise_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;

CREATE TRIGGER cache_log_insert AFTER INSERT ON users
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_users();
CREATE TRIGGER cache_log_update AFTER UPDATE ON users
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_users();
CREATE TRIGGER cache_log_delete AFTER DELETE ON users
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_users();
CREATE TRIGGER cache_log_truncate AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION cache_log_all();
CREATE TRIGGER raise_version BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION raise_version();

CREATE TRIGGER cache_log_insert AFTER INSERT ON products
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_products();
CREATE TRIGGER cache_log_update AFTER UPDATE ON products
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_products();
CREATE TRIGGER cache_log_delete AFTER DELETE ON products
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION cache_log_products();
CREATE TRIGGER cache_log_truncate AFTER TRUNCATE ON products
    FOR EACH STATEMENT EXECUTE FUNCTION cache_log_all();
CREATE TRIGGER raise_version BEFORE UPDATE ON products
    FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION raise_version();
