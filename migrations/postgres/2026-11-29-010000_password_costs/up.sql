-- The cost of each password hash: the PHC string ($argon2id$v=19$m=19456,t=2,p=1$SALT$HASH) without salt
-- and hash. A login runs one hash at each cost that is present, whatever the address, so that the time
-- it takes does not tell which addresses have accounts. With the index the few costs among a million
-- accounts are found in as many steps.
ALTER TABLE users ADD COLUMN password_cost TEXT GENERATED ALWAYS AS (
    rtrim(rtrim(rtrim(rtrim(password_hash,
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'), '$'),
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'), '$')
) STORED;
CREATE INDEX users_password_cost ON users (password_cost);
