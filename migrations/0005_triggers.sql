-- Triggers record a thousand ids a row: to compress them takes longer than all the rest of it.
alter table lockstep.outbox alter column ids set storage external;
