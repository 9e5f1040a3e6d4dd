package dnstest

// Answer is what the server says to a message.
func (s *Server) Answer(msg []byte, network string) []byte { return s.answer(msg, network) }
