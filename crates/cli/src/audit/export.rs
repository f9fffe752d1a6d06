//! `pullpass audit export`.

use anyhow::Context as _;
use clap::Args;

use super::{
    record::Record,
    trail::{Asked, page},
};
use crate::{
    client::Session,
    output::{self, note},
    values::Keeper,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullpass audit export > audit.jsonl
  pullpass audit export credential-store --after 1200 >> credential-store.jsonl

On stderr it says with which event each trail ended: note that somewhere else, and give it to `pullpass audit verify --head`.";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Whose trail; default: both, one after the other
    #[arg(value_enum)]
    service: Option<Keeper>,
    /// Go on after this event, where an export before ended
    #[arg(long, value_name = "SEQUENCE", requires = "service", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
}

impl Export {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let after = self.after.unwrap_or_default();
        let keepers = self.service.map_or_else(|| Keeper::ALL.to_vec(), |keeper| vec![keeper]);
        for keeper in keepers {
            export(session, keeper, after).await?;
        }
        Ok(())
    }
}

async fn export(session: &Session, keeper: Keeper, after: i64) -> anyhow::Result<()> {
    let mut asked = Asked { after, ..Asked::default() };
    let (mut count, mut last) = (0, None);
    loop {
        let page = page(session, keeper, asked.clone()).await?;
        let mut lines = String::new();
        for event in page.events {
            let sequence = event.sequence;
            let record =
                Record::of(event).with_context(|| format!("event {sequence} of {keeper} has no time"))?;
            lines += &record.line()?;
            last = Some(format!("{sequence}:{}", record.mac));
            count += 1;
        }
        output::emit(&lines)?;
        if page.next.is_empty() {
            break;
        }
        asked.page_token = page.next;
    }
    let last = last.map_or_else(|| "there are none".to_owned(), |last| format!("the last is {last}"));
    note(&format!("exported {count} events of {keeper}, {last}"));
    Ok(())
}
