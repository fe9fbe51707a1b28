-- A series' instances in their order, so that a page of a very long one costs a page.

CREATE INDEX instance_in_order ON instance (series, number, id);
DROP INDEX instance_by_series;
