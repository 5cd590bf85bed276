impl Products {
    /// The product of this id.
    pub async fn by_id(&self, id: i64) -> Result<Option<Document>, Error> {
        ::core::result::Result::Ok(
            self.read_by_id(id, ::alacena::cache::Mode::Read).await?.value,
        )
    }
    ///What [`by_id`](Self::by_id) answers, if it is at hand.
    #[allow(
        dead_code,
        unused_variables,
        reason = "not everybody looks before they read, and not every argument is looked at"
    )]
    pub fn peek_by_id(
        &self,
        id: i64,
    ) -> ::core::option::Option<::alacena::cache::Hit<Document>> {
        let key = ::alacena::cache::KeyBuilder::new("product:").value(&id).build();
        self.cache.peek::<Document>(&key)
    }
    ///What [`by_id`](Self::by_id) answers, and where it came from. With `Mode::Refresh` it is what a call that begins now answers.
    ///
    ///# Errors
    ///Why there is no answer.
    pub async fn read_by_id(
        &self,
        id: i64,
        mode: ::alacena::cache::Mode,
    ) -> ::core::result::Result<::alacena::cache::Read<Document>, Error> {
        let key = ::alacena::cache::KeyBuilder::new("product:").value(&id).build();
        if mode == ::alacena::cache::Mode::Read {
            if let ::core::option::Option::Some(hit) = self.cache.peek::<Document>(&key)
            {
                return ::core::result::Result::Ok(hit);
            }
        }
        let policy = ::alacena::cache::Policy {
            negative_ttl: ::core::time::Duration::from_secs(30),
            ..::alacena::cache::Policy::lasting(::core::time::Duration::from_secs(1800))
        };
        let load = {
            let this = ::core::clone::Clone::clone(self);
            move || async move { this.load_by_id(id).await }
        };
        self.cache.read::<Document, Error, _>(&key, policy, mode, load).await
    }
    async fn load_by_id(&self, id: i64) -> Result<Option<Document>, Error> {
        load(&self.db, id).await
    }
}
