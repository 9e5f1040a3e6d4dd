package scale

var (
	Settle  = settle
	Changed = changed
	Sockets = sockets
)
