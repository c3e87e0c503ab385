/* A PKCS#11 module that passes everything on to another one, named by SHIM_MODULE, but for C_Sign: what that does is said by the
 * first word of the file SHIM_CONTROL, which is read at each call. For tests of what an authority does about a token that fails.
 *
 *   ok       passes it on           error    CKR_DEVICE_ERROR
 *   session  CKR_SESSION_HANDLE_INVALID
 *   hang     never returns          crash    takes the process down
 *   wrong    a signature with one bit turned
 *   silent   says that it signed, and did not
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef unsigned char CK_BYTE;
typedef CK_ULONG (*Function)(void);
typedef CK_ULONG (*Sign)(CK_ULONG, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *);

/* CK_FUNCTION_LIST of PKCS#11 2.40: a version, then 68 functions. */
struct functions {
    CK_BYTE version[2];
    Function functions[68];
};

enum { GET_FUNCTION_LIST = 3, SIGN = 43 };
enum { CKR_OK = 0, CKR_GENERAL_ERROR = 0x05, CKR_DEVICE_ERROR = 0x30, CKR_SESSION_HANDLE_INVALID = 0xb3 };

static struct functions *real;
static struct functions ours;

static void control(char mode[16]) {
    const char *path = getenv("SHIM_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    strcpy(mode, "ok");
    if (file) {
        if (fscanf(file, "%15s", mode) != 1) strcpy(mode, "ok");
        fclose(file);
    }
}

static CK_ULONG sign(CK_ULONG session, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature, CK_ULONG *signed_length) {
    char mode[16];
    control(mode);
    if (!strcmp(mode, "error")) return CKR_DEVICE_ERROR;
    if (!strcmp(mode, "session")) return CKR_SESSION_HANDLE_INVALID;
    if (!strcmp(mode, "hang")) for (;;) pause();
    if (!strcmp(mode, "crash")) abort();
    if (!strcmp(mode, "silent") && signature) {
        memset(signature, 0, *signed_length);
        return CKR_OK;
    }
    CK_ULONG result = ((Sign)real->functions[SIGN])(session, data, length, signature, signed_length);
    if (!strcmp(mode, "wrong") && result == CKR_OK && signature) signature[*signed_length / 2] ^= 1;
    return result;
}

CK_ULONG C_GetFunctionList(struct functions **list) {
    if (!real) {
        const char *path = getenv("SHIM_MODULE");
        void *module = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        CK_ULONG (*get)(struct functions **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
        ours = *real;
        ours.functions[GET_FUNCTION_LIST] = (Function)C_GetFunctionList;
        ours.functions[SIGN] = (Function)sign;
    }
    *list = &ours;
    return CKR_OK;
}
