"""Charts as plain data, topic by topic: functions that yield `Lines` or `Spans`, called by the topic's section."""
