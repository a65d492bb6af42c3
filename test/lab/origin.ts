// A web server for bulk that can be checked, to be run by Python in a namespace of its own.

/** GET / is `bytes` zeros by number, PUT answers with the SHA-256 of the body. */
export const origin = `
import hashlib, http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *a): pass
    def do_GET(self):
        n = int(self.path[1:] or 0); h = hashlib.sha256()
        self.send_response(200); self.send_header('Content-Length', str(n)); self.end_headers()
        block = bytes(range(256)) * 256; i = 0
        while n > 0:
            part = (i.to_bytes(8, 'big') + block)[:min(n, 65536)]; self.wfile.write(part); n -= len(part); i += 1
    def do_PUT(self):
        n = int(self.headers['Content-Length']); h = hashlib.sha256()
        while n > 0:
            part = self.rfile.read(min(n, 1 << 20)); h.update(part); n -= len(part)
        d = h.hexdigest().encode()
        self.send_response(200); self.send_header('Content-Length', str(len(d))); self.end_headers(); self.wfile.write(d)
# Python's five are too few for a crowd: further SYNs are dropped, and come back seconds later or never.
http.server.ThreadingHTTPServer.request_queue_size = 128
s = http.server.ThreadingHTTPServer(('0.0.0.0', 80), H); print('listening', flush=True); s.serve_forever()
`;
