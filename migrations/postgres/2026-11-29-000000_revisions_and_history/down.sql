DROP TABLE database_history;
DROP TRIGGER redraw_revision ON products;
DROP TRIGGER redraw_token_nonce ON users;
DROP TRIGGER redraw_revision ON users;
DROP FUNCTION redraw_token_nonce();
DROP FUNCTION redraw_revision();
ALTER TABLE products DROP COLUMN revision;
ALTER TABLE users
    DROP COLUMN rehashes, DROP COLUMN revision, DROP COLUMN token_nonce,
    ADD COLUMN token_version BIGINT NOT NULL DEFAULT 1;
CREATE FUNCTION raise_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER raise_version BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION raise_version();
CREATE TRIGGER raise_version BEFORE UPDATE ON products
    FOR EACH ROW WHEN (NEW.version = OLD.version) EXECUTE FUNCTION raise_version();
