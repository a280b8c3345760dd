/* Preloaded into a process: the resolver of its C library asks one name server on loopback, on the port in
 * NAME_SERVER_PORT, and nothing else. That is what /etc/nsswitch.conf and /etc/resolv.conf say for a whole machine, apart
 * from the port, which they cannot name. Everything after that is the library's own: questions, answers, their order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <nss.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

__attribute__((constructor)) static void ask_dns_only(void)
{
    __nss_configure_lookup("hosts", "dns");
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    const char *port = getenv("NAME_SERVER_PORT");
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");

    /* The state of the resolver is that of the thread. */
    if (port == NULL || real == NULL || res_init() != 0)
        return EAI_FAIL;
    memset(_res.nsaddr_list, 0, sizeof _res.nsaddr_list);
    _res.nsaddr_list[0].sin_family = AF_INET;
    _res.nsaddr_list[0].sin_port = htons((unsigned short)atoi(port));
    _res.nsaddr_list[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    _res.nscount = 1;
    _res.options &= ~(unsigned long)(RES_DEFNAMES | RES_DNSRCH);
    return real(node, service, hints, found);
}
