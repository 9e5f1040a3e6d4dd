package cluster

// Known counts the endpoints whose state is kept.
func Known(c *Cluster) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}
