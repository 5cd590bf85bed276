impl Products {
    /// Changes the product of this id.
    pub async fn update(
        &self,
        id: i64,
        change: ProductChange,
    ) -> Result<Committed<Document>, Error> {
        let change = ::alacena::cache::Change::of(
                ::alacena::cache::KeyBuilder::new("product:").value(&id).build(),
            )
            .and_group(::alacena::cache::Group::new("products:list"));
        let policy = self.policies.product;
        let work = {
            let this = ::core::clone::Clone::clone(self);
            async move {
                let result = this.write_update(id, change).await?;
                let written = ::alacena::cache::Written::new(())
                    .at(::alacena::cache::Position::from(result.position))
                    .through(&result.value, policy);
                ::core::result::Result::Ok(written.map(|()| result))
            }
        };
        self.cache.write_within(self.patience, change, work).await
    }
    async fn write_update(
        &self,
        id: i64,
        change: ProductChange,
    ) -> Result<Committed<Document>, Error> {
        self.db.update_product(id, change).await
    }
}
